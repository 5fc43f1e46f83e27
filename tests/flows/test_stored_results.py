"""Results that Prefect's API names for a flow run are not unpickled, because the API is untrusted input."""

import base64
import importlib
import json
import pickle
import pkgutil
import subprocess
import sys

import httpx
import pytest
from prefect import Flow, Task
from prefect.client.schemas.objects import State
from prefect.flow_engine import FlowRunEngine

import deployments
import flows
import tasks
from flows.prefect_server.stored_results import StoredResultRefused, no_stored_results
from tests.conftest import make_config
from tests.services import credentials


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "unpickled"


@pytest.fixture
def forged(tmp_path, canary):
    """Forge a stored result, as anybody can who may call the API and write files; see `record`."""

    def forge(serializer, content):
        metadata = {"storage_key": str(tmp_path / "stored"), **({"serializer": serializer} if serializer else {})}
        (tmp_path / "stored").write_text(json.dumps({"metadata": metadata, "result": content.decode()}))
        return metadata

    return forge


def pickled(canary):
    return base64.encodebytes(pickle.dumps(Canary(canary)))


def module(tmp_path, monkeypatch, canary):
    (tmp_path / "named_by_a_state.py").write_text(f"open({str(canary)!r}, 'w')\ndumps = loads = str")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "named_by_a_state"


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CRASHED"])
@pytest.mark.parametrize("way", ["pickle", "no serializer", "compressed", "json", "module", "compressor", "block"])
def test_no_result_that_a_state_names_is_loaded(kind, way, forged, tmp_path, canary, monkeypatch):
    named = module(tmp_path, monkeypatch, canary)
    data = {
        "pickle": lambda: forged({"type": "pickle"}, pickled(canary)),
        "no serializer": lambda: forged(None, pickled(canary)),
        "compressed": lambda: forged({"type": "compressed/pickle"}, pickled(canary)),
        "json": lambda: forged({"type": "json"}, json.dumps({"__class__": f"{named}.str", "data": 1}).encode()),
        "module": lambda: forged({"type": "pickle", "picklelib": named}, b""),
        "compressor": lambda: forged({"type": "compressed", "serializer": "json", "compressionlib": named}, b""),
        "block": lambda: {
            **forged({"type": "pickle"}, b""),
            "storage_block_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12,
        },
    }[way]()
    with no_stored_results():
        state = State.model_validate({"type": kind, "data": data})
        with pytest.raises(StoredResultRefused, match="Nothing was loaded"):
            state.result(_sync=True, retry_result_failure=False)
    assert not canary.exists()


LOAD_AGAIN = """
import json, sys
from prefect.client.schemas.objects import State
from flows.prefect_server.stored_results import no_stored_results
with no_stored_results():
    pass
State.model_validate(json.loads(sys.argv[1])).result(_sync=True).close()
"""


def test_a_process_loads_results_again_when_our_flow_has_ended(forged, canary):
    state = {"type": "COMPLETED", "data": forged({"type": "pickle"}, pickled(canary))}
    # a process of its own: in this one, another test may have imported the deployments, which refuse results for good
    subprocess.run([sys.executable, "-c", LOAD_AGAIN, json.dumps(state)], check=True)
    assert canary.exists()  # so the canary of the other tests would sing


@pytest.mark.slow
def test_a_forged_state_of_a_running_runs_subflow_stops_the_run_and_runs_no_code(
    prefect_url, tmp_path, monkeypatch, forged, canary
):
    monkeypatch.setenv("EVOLVE_STORE", str(tmp_path / "runs"))
    monkeypatch.setenv("EVOLVE_WORKERS", "1")
    from flows.evolve import evolve

    data = forged({"type": "pickle"}, pickled(canary))
    begin, answers = FlowRunEngine.begin_run, []

    def begin_run(engine):
        """Set a forged state of the subflow before the subflow does."""
        if engine.flow.name == "evolve-generation":
            state = {"state": {"type": "COMPLETED", "data": data}, "force": True}
            url = f"{prefect_url}/flow_runs/{engine.flow_run.id}/set_state"
            answers.append(httpx.post(url, json=state, auth=credentials()).json()["status"])
        return begin(engine)

    monkeypatch.setattr(FlowRunEngine, "begin_run", begin_run)
    with pytest.raises(StoredResultRefused, match="a state that another client set"):
        evolve(make_config(), "forged")
    assert answers == ["ACCEPT"]
    assert not canary.exists()


def test_no_flow_or_task_of_ours_stores_a_result():
    names = [
        module.name
        for package in (flows, tasks, deployments)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    found = {
        f"{name}.{key}": value
        for name in names
        for key, value in vars(importlib.import_module(name)).items()
        if isinstance(value, Flow | Task)
    }
    assert len(found) >= 15
    assert {name for name, made in found.items() if made.persist_result is not False} == set()
