"""Every service of Prefect's server that we rely on, on both databases; the log of a server holds no error."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from deployments.registration import HEARTBEAT
from tests.services import free_port, postgres_server, prefect_server, server_errors, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUICK = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
}


@contextmanager
def database(kind, home, new_prefect):
    """A new database of a server; yields the setting that names it."""
    if kind == "sqlite":
        shutil.copy(new_prefect, home)
        yield {}
    else:
        with postgres_server(home) as url:
            yield {"PREFECT_API_DATABASE_CONNECTION_URL": url.replace("psycopg2", "asyncpg")}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory, new_prefect):
    """A server whose services take short breaks; its log holds no error."""
    home, port = tmp_path_factory.mktemp(request.param), free_port()
    with database(request.param, home, new_prefect) as settings:
        with prefect_server(home, port, **QUICK, **settings):
            yield f"http://127.0.0.1:{port}/api"
        assert server_errors((home / "server.log").read_text()) == []


@pytest.fixture
def api(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


def ask(api, method, path, items=None, **body):
    """Ask the server, again as long as its SQLite is busy."""
    answers = []

    def answered():
        answers.append(api.request(method, path, **({"json": items or body} if method != "GET" else {})))
        return answers[-1].status_code != 503

    wait_for(answered, interval_s=0.5)
    answer = answers[-1].raise_for_status()
    return answer.json() if answer.content else None


def ago(**time):
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


def make_flow(api):
    return ask(api, "POST", "flows/", name=f"flow-{uuid4()}")["id"]


def make_run(api, **state):
    return ask(api, "POST", "flow_runs/", flow_id=make_flow(api), state=state)["id"]


def state_of(api, run):
    return ask(api, "GET", f"flow_runs/{run}")["state"]["name"]


def emit(api, event, run, occurred=None):
    resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
    sent = {"id": str(uuid4()), "occurred": occurred or ago(), "event": event, "resource": resource, "payload": {}}
    api.post("events", json=[{**sent, "related": []}]).raise_for_status()
    return sent["id"]


def events(api, event, run):
    chosen = {"occurred": {"since": ago(days=30)}, "event": {"name": [event]}}
    found = ask(api, "POST", "events/filter", filter={**chosen, "resource": {"id": [f"prefect.flow-run.{run}"]}})
    return [one["id"] for one in found["events"]]


def scheduled(api, deployment):
    which = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    return ask(api, "POST", "flow_runs/filter", **which)


def automate(api, **trigger):
    own = {"type": "event", "match": {"prefect.resource.id": "prefect.flow-run.*"}, "threshold": 1}
    action = {"type": "change-flow-run-state", "state": "CRASHED", "message": "fired"}
    of_each = {"for_each": ["prefect.resource.id"]}
    made = {"name": str(uuid4()), "trigger": {**own, **of_each, **trigger}, "actions": [action]}
    return ask(api, "POST", "automations/", **made)["id"]


def test_schedules_make_runs(api, server):
    made = ask(api, "POST", "deployments/", name="timed", flow_id=(flow := make_flow(api)), paused=False)
    off = {"schedule": {"interval": 3600}, "active": False}
    (schedule,) = ask(api, "POST", f"deployments/{made['id']}/schedules", [off])
    assert scheduled(api, made["id"]) == []
    ask(api, "PATCH", f"deployments/{made['id']}/schedules/{schedule['id']}", active=True)
    wait_for(lambda: len(scheduled(api, made["id"])) >= 3)
    ask(api, "POST", f"deployments/{made['id']}/schedule")
    ask(api, "DELETE", f"deployments/{made['id']}/schedules/{schedule['id']}")
    name = f"{ask(api, 'GET', f'flows/{flow}')['name']}/timed"
    command = [sys.executable, "-m", "prefect", "deployment", "schedule", "create", name, "--interval", "60"]
    subprocess.run(command, env={**os.environ, "PREFECT_API_URL": server}, check=True, capture_output=True)
    wait_for(lambda: len(scheduled(api, made["id"])) >= 3)


def test_scheduled_runs_without_a_worker_are_marked_late(api):
    run = make_run(api, type="SCHEDULED", state_details={"scheduled_time": ago(minutes=1)})
    wait_for(lambda: state_of(api, run) == "Late")


def test_automations_fire_on_events_and_on_missing_events(api):
    event = f"tests.{uuid4()}"
    automate(api, posture="Reactive", expect=[event], within=0)
    automate(api, posture="Proactive", after=[HEARTBEAT], expect=[HEARTBEAT], within=10)
    told, silent = make_run(api, type="RUNNING"), make_run(api, type="RUNNING")
    emitted = emit(api, event, told)
    emit(api, HEARTBEAT, silent)
    wait_for(lambda: state_of(api, told) == "Crashed")
    wait_for(lambda: state_of(api, silent) == "Crashed")
    assert events(api, event, told) == [emitted]


def test_entries_beyond_their_retention_are_purged(api):
    run = make_run(api, type="RUNNING")
    emit(api, HEARTBEAT, run, ago(days=8))
    kept = emit(api, HEARTBEAT, run, ago(days=6))
    wait_for(lambda: events(api, HEARTBEAT, run) == [kept])


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)  # leases are kept in the server's memory
def test_the_slot_of_a_dead_holder_is_released(api):
    name = f"slot-{uuid4()}"
    ask(api, "POST", "v2/concurrency_limits/", name=name, limit=1)
    take = {"names": [name], "slots": 1, "lease_duration": 60}
    lease = ask(api, "POST", "v2/concurrency_limits/increment-with-lease", **take)["lease_id"]
    assert api.post("v2/concurrency_limits/increment-with-lease", json=take).status_code == 423
    ask(api, "POST", f"v2/concurrency_limits/leases/{lease}/renew", lease_duration=60)
    wait_for(lambda: ask(api, "GET", f"v2/concurrency_limits/{name}")["active_slots"] == 0, timeout_s=120)


def test_an_artifact_has_versions(api):
    for data in ("[1]", "[2]"):
        ask(api, "POST", "artifacts/", key="some-table", type="table", data=data)
    assert ask(api, "GET", "artifacts/some-table/latest")["data"] == "[2]"
