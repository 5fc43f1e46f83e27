"""Flow runs of one pool: two on one run, ending workers, invalid forms, schedules, evaluation and collection."""

import logging
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.deployments.working import LASTING, begun, chain, pool_worker, seconds_until, undisturbed_form
from tests.flows.conftest import alive, descendants
from tests.services import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # several whole runs, on a busy machine

LONGER = 2 * LASTING["max_steps"]
"""Budget of a run that is still training when the flow runs that wait for it start."""


@pytest.fixture(scope="module")
def worker(ui, prefect_environment, tmp_path_factory):
    with pool_worker(tmp_path_factory.mktemp("worker"), prefect_environment) as worker:
        yield worker


def test_a_worker_that_is_stopped_leaves_a_final_state_and_no_process(ui, prefect_environment, tmp_path):
    with pool_worker(tmp_path, prefect_environment) as worker:
        flow_run, process = begun(worker, ui, "ended")
        family = {process, *descendants(process)}
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(120)
        assert seconds_until(lambda: ui.state(flow_run)["type"] in ("CRASHED", "CANCELLED", "FAILED")) < 5
        wait_for(lambda: not any(alive(pid) for pid in family))  # test_serve.py goes on with such a run


@dataclass(frozen=True)
class Turns:
    """Flow runs on the run `shared`: the first, a second one that waits for it, and one with another configuration."""

    refused: str
    first_while_refused: str
    ends: tuple[str, str]
    logged: list[str]


@pytest.fixture(scope="module")
def turns(ui, worker) -> Turns:
    """Start three flow runs on one run, and wait for their ends."""
    first, _ = begun(worker, ui, "shared", max_steps=LONGER)
    other = ui.submit("evolve", {**LASTING, "max_steps": LONGER, "run_id": "shared", "seed": 2})
    second = ui.submit("resume", {"run_id": "shared"})
    refused = ui.wait(other)["message"]
    first_while_refused = ui.state(first)["type"]
    ui.wait(second, "RUNNING")
    ends = ui.wait(first)["type"], ui.wait(second)["type"]
    logs = ui.answer("POST", "logs/filter", json={"logs": {"flow_run_id": {"any_": [second]}}}).json()
    return Turns(refused, first_while_refused, ends, [line["message"] for line in logs])


def test_flow_runs_on_one_run_take_turns(turns, worker):
    assert "exists in " in turns.refused and "Seed: 1 in the store, 2 given" in turns.refused
    assert turns.first_while_refused == "RUNNING"  # an invalid form is refused at once
    assert turns.ends == ("COMPLETED", "COMPLETED")
    assert any("another flow run works on shared" in line for line in turns.logged)
    assert len(chained := chain(worker.store, "shared")) == 7
    assert chained[:4] == undisturbed_form(LASTING)  # a larger budget goes on along the same chain


def test_inconsistent_parameters_are_reported_on_the_page_of_the_run(ui, worker):
    flow_run = ui.submit("evolve", {**LASTING, "batch_size": 4096})
    message = ui.wait(flow_run)["message"]
    assert "Minibatch size: expected at most the initial rollout of 512 steps" in message
    logs = {"flow_run_id": {"any_": [flow_run]}, "level": {"ge_": logging.ERROR}}
    errors = partial(ui.answer, "POST", "logs/filter", json={"logs": logs})
    wait_for(
        lambda: errors().json() and not worker.flow_processes(), interval_s=0.5
    )  # a second one would come as it ends
    (error,) = errors().json()
    assert error["message"].startswith(f"{message}\n\nTraceback")
    states = ui.answer("GET", f"flow_run_states/?flow_run_id={flow_run}").json()
    began, ended = (
        next(datetime.fromisoformat(state["timestamp"]) for state in states if state["type"] == kind)
        for kind in ("RUNNING", "FAILED")
    )
    assert (ended - began).total_seconds() < 10  # at once, on a busy machine


def test_errors_of_a_pasted_file_are_reported_too(ui, worker):
    flow_run = ui.submit("evolve", {"yaml": "env: {id: CartPole-v1, kwargs: {since: !!int late}}"})
    assert ui.wait(flow_run)["message"].startswith("Configuration as YAML: not YAML: expected what !!int stands for")


def test_evaluation_and_collection_of_all_runs(ui, worker, turns):
    evaluated, collected = (
        ui.submit("evaluate", {"episodes": 3, "run_id": "shared"}),
        ui.submit("gc", {"keep_generations": 1}),
    )
    assert ui.wait(evaluated)["type"] == "COMPLETED", worker.log.read_text()[-3000:]
    assert ui.wait(collected)["type"] == "COMPLETED", worker.log.read_text()[-3000:]
    which = {"key": {"any_": ["evaluation-shared"]}}
    (table,) = ui.answer("POST", "artifacts/filter", json={"artifacts": which}).json()
    assert '"episodes": "3"' in table["data"]


def test_a_scheduled_run_is_started_by_the_worker_and_completes(ui, worker):
    deployment = ui.answer("GET", "deployments/name/evolve-gc/gc").json()["id"]
    soon = (datetime.now(UTC) + timedelta(seconds=15)).isoformat()
    timed = {"schedule": {"interval": 86_400, "anchor_date": soon}, "active": True, "parameters": {"dry_run": True}}
    (schedule,) = ui.answer("POST", f"deployments/{deployment}/schedules", json=[timed]).json()
    ui.answer("POST", f"deployments/{deployment}/schedule")  # at once, instead of by the server's next look
    of_schedule = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}
    runs = ui.answer("POST", "flow_runs/filter", json={**of_schedule, "sort": "NEXT_SCHEDULED_START_TIME_ASC"}).json()
    try:
        assert ui.wait(runs[0]["id"])["type"] == "COMPLETED", worker.log.read_text()[-3000:]
        ran = ui.answer("GET", f"flow_runs/{runs[0]['id']}").json()
        due, began = (datetime.fromisoformat(ran[name]) for name in ("expected_start_time", "start_time"))
        assert began >= due - timedelta(seconds=0.5)  # the server rounds the delay to whole seconds
        assert ran["parameters"]["dry_run"] is True
    finally:
        ui.answer("DELETE", f"deployments/{deployment}/schedules/{schedule['id']}")
