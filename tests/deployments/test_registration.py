"""evolve deploy against a real Prefect server: everything is registered, once however often it runs."""

import json

import httpx
import pytest
from prefect.client.orchestration import get_client

from deployments.registration import SILENCE_S, register
from deployments.run_choices import MOST, offer, offered, with_choices
from tests.services import credentials, free_port, wait_for

DEPLOYMENTS = {"evolve/evolve", "evolve-resume/resume", "evolve-evaluate/evaluate", "evolve-gc/gc"}


@pytest.fixture(scope="module")
def api(prefect_url):
    with httpx.Client(base_url=prefect_url, auth=credentials(), timeout=120) as client:
        yield client


def deployments(api):
    found = api.post("deployments/filter", json={"deployments": {"tags": {"all_": ["evolve"]}}}).json()
    return {deployment["entrypoint"].rpartition(".")[2]: deployment for deployment in found}


def offered_runs(api):
    """This module's run ids among those that the form of resume offers; other modules' runs share the server."""
    listed = deployments(api)["resume"]["parameter_openapi_schema"]["properties"]["run_id"]["anyOf"][0]["enum"]
    return [run_id for run_id in listed if run_id in ("first-run", "second_run", "third-run")]


def ask(request):
    """Send a request again while the server's SQLite is busy; raise for any other error."""
    answers = []
    wait_for(lambda: answers.append(request()) or answers[-1].status_code != 503, interval_s=0.5)
    answers[-1].raise_for_status()


@pytest.fixture(scope="module")
def registered(api):
    assert set(register(["first-run"])) == DEPLOYMENTS
    yield (found := deployments(api))
    for schedule in deployments(api)["evolve"]["schedules"]:  # as other modules on this server expect them
        path = f"deployments/{found['evolve']['id']}/schedules/{schedule['id']}"
        if schedule["parameters"]:
            ask(lambda path=path: api.delete(path))
        else:
            ask(lambda path=path: api.patch(path, json={"active": False}))
    api.patch("work_pools/evolve", json={"concurrency_limit": None}).raise_for_status()


def test_everything_is_registered_without_a_path_of_this_machine(registered, api):
    assert set(registered) == {name.partition("/")[2] for name in DEPLOYMENTS}
    for deployment in registered.values():
        assert deployment["work_pool_name"] == "evolve"
        assert not deployment["path"]
        assert not deployment["pull_steps"]
        assert deployment["enforce_parameter_schema"]
        assert "/" not in deployment["entrypoint"]
    active = {name: [schedule["active"] for schedule in one["schedules"]] for name, one in registered.items()}
    assert active == {"evolve": [False], "evaluate": [False], "gc": [False], "resume": []}
    limits = {name: (one["global_concurrency_limit"] or {}).get("limit") for name, one in registered.items()}
    assert limits == {"evolve": None, "evaluate": 1, "gc": 1, "resume": None}  # those take turns on each run
    assert api.get("work_pools/evolve").json()["type"] == "process"


def automations(api):
    """Our automations; other modules' share the server."""
    return [one for one in api.post("automations/filter", json={}).json() if one["name"].startswith("evolve: ")]


def test_runs_that_fall_silent_or_never_begin_crash_within_ten_minutes(registered, api):
    ours = {one["name"]: one for one in automations(api)}
    assert len(ours) == 2
    automation, never_began = (
        ours["evolve: silent runs have crashed"],
        ours["evolve: runs that never began have crashed"],
    )
    assert never_began["trigger"]["within"] < 600
    assert "prefect.tag.evolve" in str(never_began["trigger"]["match_related"])
    flows = automation["trigger"]["match_related"]["prefect.resource.name"]
    assert "evolve-generation" in flows and {flow.partition("-")[0] for flow in flows} == {"evolve"}  # nobody else's
    heartbeat = int(registered["evolve"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert heartbeat + automation["trigger"]["within"] < 600
    assert automation["trigger"]["within"] == SILENCE_S > 2 * heartbeat


def test_runs_are_offered_by_name_and_any_other_may_be_typed(registered, api):
    with get_client(sync_client=True) as client:
        offer(client, ["second_run"], first=True)
        offer(client, ["second_run"], first=True)
    typed = deployments(api)["resume"]["parameter_openapi_schema"]["properties"]["run_id"]["anyOf"][1]
    assert offered_runs(api) == ["second_run", "first-run"]
    assert typed["pattern"] == "^[a-z0-9][a-z0-9_-]{0,62}$"


def test_a_full_list_keeps_the_newest_runs_and_stays_the_same():
    form = {"properties": {"run_id": {"anyOf": [{"type": "string"}]}}}
    store = [f"run-{number}" for number in range(MOST + 100)]
    full = with_choices(form, store, first=False)
    assert offered(full) == store[:MOST]
    assert with_choices(full, store, first=False) is full
    newer = with_choices(full, ["begun-now"], first=True)
    assert offered(newer) == ["begun-now", *store[: MOST - 1]]
    assert with_choices(newer, store, first=False) is newer


def test_a_wrong_value_is_refused_on_submit(registered, api):
    def submit(name, parameters):
        path = f"deployments/{registered[name]['id']}/create_flow_run"
        return api.post(path, json={"parameters": parameters, "state": {"type": "SCHEDULED"}})

    answer = submit("evolve", {"lr": 5})
    assert answer.status_code == 409, answer.text
    assert "lr" in answer.text
    assert "less than or equal to the maximum of 1" in answer.text or "maximum" in answer.text
    for large in ({"max_steps": 10**20}, {"advanced": {"env": {"kwargs": {"n": [{"n": 10**20}]}}}}):
        assert submit("evolve", large).status_code == 409, large
    assert submit("resume", {"run_id": "one", "max_steps": 10**20}).status_code == 409
    ours = {"id": {"any_": [registered["evolve"]["id"], registered["resume"]["id"]]}}
    listing = api.post("flow_runs/filter", json={"deployments": ours})
    assert listing.status_code == 200, "nobody's list of runs is broken by it"
    assert str(10**20) not in listing.text
    unknown = submit("evolve", {"population": 8})
    assert (unknown.status_code, "'population' was unexpected" in unknown.text) == (409, True), unknown.text
    assert submit("resume", {"run_id": "No/Good"}).status_code == 409
    assert submit("resume", {}).status_code == 409


def test_registering_again_duplicates_nothing_and_keeps_what_users_changed(registered, api):
    evolve = registered["evolve"]
    schedule = evolve["schedules"][0]["id"]
    api.patch(f"deployments/{evolve['id']}/schedules/{schedule}", json={"active": True}).raise_for_status()
    own = {"schedule": {"cron": "5 5 * * *"}, "active": False, "parameters": {"seed": 9}}
    api.post(f"deployments/{evolve['id']}/schedules", json=[own]).raise_for_status()
    register(["first-run", "third-run"])
    again = deployments(api)
    assert {name: one["id"] for name, one in again.items()} == {name: one["id"] for name, one in registered.items()}
    found = sorted((one["schedule"]["cron"], one["active"]) for one in again["evolve"]["schedules"])
    assert found == [("0 20 * * 5", True), ("5 5 * * *", False)]
    assert len({one["name"] for one in automations(api)}) == len(automations(api)) == 2
    assert offered_runs(api) == ["second_run", "first-run", "third-run"]
    assert json.dumps(again).count("/tmp") == 0


@pytest.mark.slow
def test_the_command_registers_everything_and_the_slots_of_gpus(cli, registered, api):
    said = cli.json("deploy", "--gpu-slots", "3")
    assert set(said["deployments"]) == DEPLOYMENTS
    assert api.get("v2/concurrency_limits/tag:gpu").json()["limit"] == 3
    cli.environment["EVOLVE_SLOTS_TAG"] = "gpu-of-the-attic"
    cli.json("deploy", "--gpu-slots", "2")
    assert api.get("v2/concurrency_limits/tag:gpu-of-the-attic").json()["limit"] == 2
    assert api.get("v2/concurrency_limits/tag:gpu").json()["limit"] == 3
    assert "--gpu-slots: expected 1 to 10000" in cli("deploy", "--gpu-slots", "0", expect=2).stderr
    cli.json("deploy", "--limit", "2")
    assert api.get("work_pools/evolve").json()["concurrency_limit"] == 2
    cli.json("deploy")
    assert api.get("work_pools/evolve").json()["concurrency_limit"] == 2
    assert "--limit: expected 1 to 10000" in cli("deploy", "--limit", "0", expect=2).stderr
    for address, advice in {
        f"http://127.0.0.1:{free_port()}/api": "no Prefect server answers there",
        "localhost:4200": "expected an address such as http",
        cli.environment["PREFECT_API_URL"].removesuffix("/api"): "PREFECT_API_URL is",
    }.items():
        cli.environment["PREFECT_API_URL"] = address
        assert advice in cli("deploy", expect=2).stderr
    del cli.environment["PREFECT_API_URL"]
    assert "PREFECT_API_URL is not set" in cli("deploy", expect=2).stderr
