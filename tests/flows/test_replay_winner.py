"""Replays of a real run, and their reports."""

import numpy as np
import pytest

from evo_core.evolution.schedule_replay import replay_seeds
from evo_core.records.chain import Confirmation
from evo_core.records.replay_record import Replay
from flows.report.replay_statistics import transfer_of
from tasks.runs import layout
from tests.conftest import make_config

RETURN = make_config().evaluation.objective


def made(returns, failure=None):
    return Replay(
        uid="g0001/m00", kind="schedule", seed=1, steps=(1,), fitness=(0.0,), returns=returns, failure=failure
    )


def test_transfer_compares_fresh_agents_with_the_winner():
    winner = Confirmation(uid="g0001/m00", mean=10.0, ci95=(9.0, 11.0), episodes=4, steps=9)
    replays = [made((9.0, 10.0)), made((4.0, 6.0)), made((11.0, 13.0)), made((), {"reason": "nan_loss", "step": 3})]
    transfer = transfer_of(replays, winner, RETURN)
    assert transfer.means == (9.5, 5.0, 12.0) and transfer.as_good == 2 and transfer.failed == 1
    low, high = transfer.ci95
    assert low < transfer.mean < high
    assert transfer.describe(winner) == (
        f"4 fresh agents trained along its schedule reached 8.8 (95 % CI {low:.1f} to {high:.1f}), the winner itself "
        "10.0; 2 of them were as good; 1 failed."
    )
    assert transfer_of(replays[:1], None, RETURN).ci95 is None
    assert transfer_of(replays[3:], winner, RETURN).describe(winner) == (
        "All 1 fresh agents trained along its schedule failed."
    )


@pytest.mark.slow
def test_a_winner_is_replayed_on_fresh_seeds_and_each_seed_once(cli):
    config = make_config(**{"training.max_steps": 1536})
    cli("run", "--config", cli.config(config), "--run-id", "r")
    found = cli.json("replay", "r", "--seeds", "2")
    store = cli.run_store("r")
    stored = list(store.replays(found["winner"], "schedule").values())
    assert found["seeds"] == replay_seeds(config, 2) == [replay.seed for replay in stored]
    assert found["means"] == [float(np.mean(replay.returns)) for replay in stored]
    assert len(stored[0].fitness) == int(found["winner"][1:5])
    more = cli.json("replay", "r", "--seeds", "3")
    assert more["means"][:2] == found["means"] and len(more["means"]) == 3 and more["ci95"]
    again = store.replays(found["winner"], "schedule")
    assert [again[0], again[1]] == stored
    (cli.directory / "runs" / "r" / layout.replay(found["winner"], "schedule", 1)).unlink()  # a replay that was lost
    cli("report", "r")
    assert cli.json("replay", "r", "--seeds", "3") == more
    fixed = cli.json("replay", "r", "--seeds", "1", "--fixed")
    assert fixed["kind"] == "fixed" and len(store.replays(found["winner"], "fixed")) == 1
    assert cli.json("replay", "r", "--seeds", "3") == more
    assert "3 fresh agents trained along its schedule" in cli("replay", "r", "--seeds", "3").stdout
    assert cli.json("verify", "r")["whole"]
    cli("report", "r")
    page = (cli.directory / "reports" / "r" / "report.html").read_text()
    assert "Schedule or luck" in page and "3 fresh agents trained along its schedule" in page
    cli("export", "r", "--format", "config", "--output", "found")
    (cli.directory / "runs").rename(cli.directory / "away")  # the file alone is enough
    filed = cli.json("replay", "--schedule", "found/schedule.json", "--seeds", "2")
    assert filed == {**found, "as_good": filed["as_good"]} and not (cli.directory / "runs").exists()
    refused = cli("replay", "r", "--seeds", "0", expect=2)
    assert "--seeds: expected 1 to 1000, got 0" in refused.stderr
