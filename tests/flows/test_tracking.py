"""Trackers of a real run that is killed and resumed, with a tracker that fails or is not installed."""

import os
import signal

import pytest

from tests.conftest import make_config
from tests.flows.conftest import Cli, alive, descendants
from tests.services import wait_for
from tests.tracking import assert_shows, records_of, runs_of

CONFIG = make_config(**{"training.evo_steps": 2048, "training.max_steps": 18_432, "algorithm.update_epochs": 4})
ALL = ("csv", "tensorboard", "wandb", "mlflow")


@pytest.fixture
def tracked(cli, monkeypatch):
    """Return the command line with all trackers, offline."""
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # of tests that used W&B in this process
    cli.environment |= {
        "EVOLVE_TRACK": ",".join(ALL),
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "DO_NOT_TRACK": "1",
    }
    return cli


@pytest.mark.slow
def test_trackers_of_a_killed_run_with_a_failing_tracker_are_complete_in_the_end(tracked):
    tracking = tracked.directory / "runs" / "tracking"
    process = tracked.start("run", "--config", tracked.config(CONFIG), "--run-id", "one", "--workers", "2", "--json")
    rows = tracking / "csv" / "one" / "members.csv"
    database = tracking / "mlflow" / "mlflow.db"

    def begun():
        return rows.exists() and rows.stat().st_size and database.exists()

    wait_for(lambda: begun() or process.poll() is not None, timeout_s=180)
    everyone = {process.pid, *descendants(process.pid)}
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    wait_for(lambda: not any(alive(pid) for pid in everyone))
    (tracking / "csv" / "one").rename(tracking / "aside")
    (tracking / "csv" / "one").write_text("in the way")
    behind = tracked("resume", "one", "--json", expect=3)
    assert "the csv tracker lacks generations up to 3: NotADirectoryError" in behind.stderr
    assert "evolve resume one --track csv,tensorboard,wandb,mlflow brings it up to date" in " ".join(
        behind.stderr.split()
    )
    assert str(tracking) in behind.stdout
    (tracking / "csv" / "one").unlink()
    (tracking / "aside").rename(tracking / "csv" / "one")
    assert tracked.json("resume", "one")["status"] == "budget_spent"
    commits = list(tracked.run_store("one").commits())
    assert len(commits) == 4
    for name in ALL:
        assert_shows(name, tracking, "one", commits)
    assert len([record for record in records_of(tracking, "one") if record["type"] == "run"]) == 1
    assert len(runs_of(tracking, "one")[1]) == 4


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "wandb.py").write_text("raise ImportError('blocked')")
    (place := tmp_path / "place").mkdir()
    path = Cli(tmp_path).config(make_config())
    cli = Cli(place, {"PYTHONPATH": os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", "")])})
    refused = cli("run", "--config", path, "--track", "csv,wandb", expect=2)
    assert "--track: wandb is not installed (blocked): pip install 'evolve-rl[wandb]'" in refused.stderr
    assert list(place.iterdir()) == []
