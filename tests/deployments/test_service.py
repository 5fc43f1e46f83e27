"""Runs of a pool's worker that are killed, fail, are cancelled or lose their machine, and are continued in the UI."""

import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from deployments.guardian import LATE_STATE_TIMEOUT_S
from tests.deployments.working import (
    LASTING,
    begun,
    chain,
    made_up,
    pool_worker,
    seconds_until,
    undisturbed_form,
)
from tests.flows.conftest import ROOT, alive, descendants, kill_all
from tests.services import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # several whole runs, on a busy machine

FRAGILE = """
import pathlib
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
class Fragile(CartPoleEnv):
    def step(self, action):
        if pathlib.Path({!r}).exists():
            raise RuntimeError("the simulator is down")
        return super().step(action)
gymnasium.register("Fragile-v0", Fragile, max_episode_steps=500)
"""


@pytest.fixture(scope="module")
def oracle():
    return undisturbed_form(LASTING)


@pytest.fixture(scope="module")
def worker(ui, prefect_environment, tmp_path_factory):
    directory = tmp_path_factory.mktemp("worker")
    (directory / "fragile.py").write_text(FRAGILE.format(str(directory / "broken")))
    modules = {"EVOLVE_ENV_PACKAGES": "fragile", "PYTHONPATH": f"{ROOT}:{directory}"}
    with pool_worker(directory, {**prefect_environment, **modules}) as worker:
        yield worker


@pytest.fixture(scope="module", autouse=True)
def dead_machine(ui, prefect_environment, tmp_path_factory):
    """Kill worker, flow and guardian of a run at once, before all other tests: the server notices after minutes."""
    with pool_worker(tmp_path_factory.mktemp("dead"), prefect_environment) as worker:
        flow_run, _ = begun(worker, ui, "cut-off")
        guardian = subprocess.run(["pgrep", "-f", f"deployments.guardian {flow_run}"], capture_output=True, text=True)
        kill_all((worker.process.pid, int(guardian.stdout), *descendants(worker.process.pid)))
    return flow_run, datetime.now(UTC)


def directories(path):
    return {entry for entry in path.iterdir() if entry.is_dir()}


def test_a_killed_run_is_marked_as_crashed_and_an_immediate_retry_finishes_it_with_the_same_chain(ui, worker, oracle):
    flow_run, process = begun(worker, ui, None)  # Retry finds the run again by a name that nobody gave it
    run, runs = worker.store / made_up(flow_run), directories(worker.store)
    family = descendants(process)
    ui.pause_pool(True)  # the Retry must not start before the worker has reported the crash again
    os.kill(process, signal.SIGKILL)
    assert ui.wait(flow_run)["type"] == "CRASHED"
    ui.retry(flow_run)
    assert seconds_until(lambda: not any(alive(pid) for pid in family)) < 30
    wait_for(
        lambda: "AwaitingRetry Crashed AwaitingRetry" in ui.history(flow_run),
        timeout_s=LATE_STATE_TIMEOUT_S,
        interval_s=0.5,
    )
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    ui.pause_pool(False)
    assert ui.wait(flow_run, "COMPLETED", "FAILED")["type"] == "COMPLETED", worker.log.read_text()[-3000:]
    assert ui.running_below(flow_run) == []
    assert chain(worker.store, run.name) == oracle
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert directories(worker.store) == runs


def test_a_run_that_failed_is_finished_by_retry_once_its_environment_is_fixed(ui, worker):
    broken = worker.store.parent / "broken"
    broken.touch()
    form = {**LASTING, "environment": "fragile:Fragile-v0", "run_id": "failed"}
    flow_run = ui.submit("evolve", form)
    failed = ui.wait(flow_run)
    assert failed["type"] == "FAILED"
    assert failed["message"].startswith("generation 1: 0 of 3 members finished")
    broken.unlink()
    ui.retry(flow_run)
    assert ui.wait(flow_run, "COMPLETED", "CRASHED")["type"] == "COMPLETED", worker.log.read_text()[-3000:]
    assert len(chain(worker.store, "failed")) == 4


def test_cancel_ends_all_workers_within_half_a_minute_and_resume_continues(ui, worker, oracle):
    flow_run, process = begun(worker, ui, "cancelled")
    family = {process, *descendants(process)}
    ui.set_state(flow_run, "CANCELLING", "Cancelling")
    assert seconds_until(lambda: not any(alive(pid) for pid in family)) < 30
    assert seconds_until(lambda: ui.state(flow_run)["type"] == "CANCELLED") < 30
    form = ui.answer("GET", "deployments/name/evolve-resume/resume").json()["parameter_openapi_schema"]
    listed, _ = form["properties"]["run_id"]["anyOf"]
    assert "cancelled" in listed["enum"]
    resumed = ui.submit("resume", {"run_id": "cancelled"})
    assert ui.wait(resumed)["type"] == "COMPLETED", worker.log.read_text()[-3000:]
    assert chain(worker.store, "cancelled") == oracle


def test_a_run_whose_machine_died_is_crashed_within_ten_minutes(ui, dead_machine):
    flow_run, died = dead_machine
    state = ui.wait(flow_run, timeout_s=max(1, 600 - (datetime.now(UTC) - died).total_seconds()))
    assert datetime.fromisoformat(state["timestamp"]) - died < timedelta(minutes=10)
    assert state["type"] == "CRASHED"
    assert "No sign of life" in state["message"]
    assert "Retry continues it" in state["message"]
