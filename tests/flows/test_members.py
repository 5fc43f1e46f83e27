"""A member that hangs, kills its worker or exhausts memory fails alone; the run continues."""

import os
import signal
import time

import pytest

from evo_core.records.chain import record_hash
from tests.conftest import make_config
from tests.flows.conftest import ROOT, Cli, alive, descendants, workers_of
from tests.services import wait_for
from tests.spreading import undisturbed


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """Return the command line, with the probe environments registered in every process."""
    cli.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    return cli


def faulty(what, **overrides):
    """Configure a run in which exactly one member of the first generation fails in the given way."""
    kwargs = {"what": what, "after": 20, "odds": 0.003}
    base = {"population.min_survivors": 1, "training.max_steps": 768, "training.evo_steps": 256, "seed": 6}
    return make_config("Probe/Faulty-v0", **{"env.kwargs": kwargs, **base, **overrides})


@pytest.fixture(scope="module")
def broken():
    """Return the uid of that member, found by letting the environment raise instead."""
    members = undisturbed(faulty("raise")).commits[1].members
    broken = {member.uid for member in members if member.failure}
    assert len(broken) == 1
    return broken


CASES = [
    pytest.param("hang", ("--member-deadline", "6"), "deadline", id="hangs", marks=pytest.mark.slow),
    pytest.param("exit", (), "lost", id="ends its process", marks=pytest.mark.slow),
    pytest.param("swallow", ("--member-memory", "2GiB"), "memory", id="swallows memory", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("what", "limits", "reason"), CASES)
def test_a_member_that_always_kills_its_worker_fails_alone(cli, broken, what, limits, reason):
    result = cli.json("run", "--config", cli.config(faulty(what)), "--run-id", "deadly", "--workers", "2", *limits)
    members = cli.run_store("deadly").commit(1).members
    assert {(m.uid, m.failure.reason) for m in members if m.failure} == {(uid, reason) for uid in broken}
    assert result["status"] == "budget_spent"
    assert all(child.parent not in broken for child in cli.run_store("deadly").head().offspring)
    assert "intact" in cli("verify", "deadly").stdout


@pytest.mark.slow
def test_an_episode_that_never_ends_costs_its_member(cli):
    config = make_config(
        "Probe/NoLimit-v0",
        **{
            "evaluation.max_steps": 10**9,
            "training.max_steps": 512,
            "population.size": 2,
            "population.min_survivors": 1,
        },
    )
    process = cli.start(
        "run", "--config", cli.config(config), "--run-id", "endless", "--member-deadline", "5", "--json"
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err  # all of them, so nothing is written off
    assert "g0001/m01: deadline at step 256" in out
    assert "which tries these members again" in err
    assert "--member-deadline" in err
    assert cli.run_store("endless").head().generation == 0
    assert cli.run_store("endless").training(1, 0) is not None


@pytest.mark.slow
def test_a_worker_that_hangs_ends_itself_when_its_run_is_killed(cli):
    config = faulty("hang", **{"env.kwargs": {"what": "hang", "after": 20, "odds": 1.0}})
    process = cli.start("run", "--config", cli.config(config), "--run-id", "stuck")
    wait_for(lambda: workers_of(process.pid), interval_s=0.2)
    began = time.monotonic()
    wait_for(lambda: (cli.directory / "runs/stuck/gen/000000/COMMIT.json").exists() and time.monotonic() - began > 8)
    family = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(pid) for pid in family), timeout_s=30)


@pytest.mark.slow
def test_killing_all_workers_repeatedly_during_one_member_does_not_fail_it(cli):
    config = make_config(**{"training.evo_steps": 8192, "training.max_steps": 24_576, "algorithm.update_epochs": 4})
    process = cli.start("run", "--config", cli.config(config), "--run-id", "hit", "--workers", "1", "--json")
    for _ in range(2):
        wait_for(lambda: workers_of(process.pid), interval_s=0.2)
        first = workers_of(process.pid)
        time.sleep(4)
        for pid in first & workers_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda first=first: not (first & workers_of(process.pid)), interval_s=0.2)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert record_hash(cli.run_store("hit").head()) == undisturbed(config).head
