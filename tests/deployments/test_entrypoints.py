"""The flows of deployments: their names, errors and settings."""

import json
import os
import subprocess
import sys

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

from deployments.entrypoints import _begin, _require_unbegun, evaluate, evolve, gc, resume
from flows.observers.milestones import RunLog
from flows.runs import derived_run_id
from flows.settings import BadInput, Settings
from tasks.logs.run_log import log_to_run
from tasks.store import GoneError
from tasks.views.artifacts import add_progress, artifact_key
from tests.conftest import make_config
from tests.flows.conftest import make_runs
from tests.services import credentials

ALL = """
import json, os
from deployments.entrypoints import evaluate, gc
ends = [
    gc(dry_run=True, return_state=True),
    evaluate(episodes=2, return_state=True),
    evaluate("z", "g0099/m00", return_state=True),
]
os.environ["EVOLVE_MEMBER_DEADLINE"] = "2"
ends.append(evaluate("z", episodes=100_000, return_state=True))
print(json.dumps([(end.type.value, end.message) for end in ends]))
"""


@pytest.mark.slow
def test_a_run_that_cannot_be_read_does_not_stop_the_others(cli, tmp_path):
    store = make_runs(tmp_path / "runs", {name: make_config(**{"training.max_steps": 768}) for name in ("a", "m", "z")})
    (store / "m" / "run.json").write_text("{")
    environment = {**os.environ, **cli.environment, "EVOLVE_STORE": str(store), "EVOLVE_WORKERS": "2"}
    command = [sys.executable, "-c", ALL]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    collected, evaluated, unknown, endless = json.loads(ran.stdout.splitlines()[-1])
    for state, message in (collected, evaluated):
        assert state == "FAILED"
        assert message.startswith("1 of 3 runs failed: m: m/run.json: not a record of this program")
    assert "Traceback" in ran.stderr
    assert "z: 0 checkpoints would be released" in ran.stderr
    assert "z: g000" in ran.stderr and "mean return" in ran.stderr
    assert unknown[0] == "FAILED"
    assert unknown[1].startswith("Member g0099/m00: expected a name such as g0003/m05")
    assert endless == ["FAILED", "its episodes took longer than EVOLVE_MEMBER_DEADLINE allows"]


def test_flow_runs_that_are_made_together_make_runs_of_their_own(prefect_url):
    with get_client(sync_client=True) as client:
        ids = {str(client.create_flow_run(flow(len, name="unnamed")).id) for _ in range(20)}
    assert len({derived_run_id(make_config(), flow_run) for flow_run in ids}) == 20


def test_a_retry_does_not_create_a_run_again_whose_store_is_gone(prefect_url, tmp_path, monkeypatch):
    settings = Settings(store=str(tmp_path / "runs"))

    @flow
    def retried() -> None:
        _require_unbegun(settings, "never-begun")
        monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", "2")
        _require_unbegun(settings, "never-begun")
        add_progress(artifact_key("progress", "begun-here"), 1.0, "", {})
        with pytest.raises(GoneError, match="the store is gone"):
            _require_unbegun(settings, "begun-here")

    @flow
    def another() -> None:
        _require_unbegun(settings, "begun-here")

    retried()
    another()
    assert not (tmp_path / "runs").exists()


def test_addresses_relative_to_a_flow_runs_directory_are_refused(monkeypatch):
    monkeypatch.setattr("deployments.entrypoints.guard", lambda: None)
    for name, value in (("EVOLVE_STORE", "runs"), ("EVOLVE_STUDY", "sqlite:///study.db")):
        monkeypatch.setenv("EVOLVE_STORE", "~/runs")
        monkeypatch.setenv(name, value)
        with pytest.raises(BadInput, match=f"{name}: expected an absolute path or a URL"):
            _begin()
    monkeypatch.setenv("EVOLVE_STORE", "~/runs")
    monkeypatch.setenv("EVOLVE_STUDY", "sqlite:////var/study.db")
    monkeypatch.setenv("EVOLVE_ENV_PATH", f"/usr{os.pathsep}.")  # which exists, but not where a flow run looks
    with pytest.raises(BadInput, match=r"EVOLVE_ENV_PATH: expected whole paths .* got '\.'"):
        _begin()
    monkeypatch.delenv("EVOLVE_ENV_PATH")
    assert _begin().study_url == "sqlite:////var/study.db"


REFUSED = [
    (evolve, {"population": 8}, "evolve", "population: there is no such field; did you mean population_size?"),
    (evolve, {"lr": "fast"}, "evolve", "Learning rate: Input should be a valid number"),
    (evolve, {"advanced": {"mutation": {"rl_hp": -1}}}, "evolve", "Advanced → mutation → rl_hp: Input should be"),
    (evolve, {"batch_size": 4096}, "evolve", "Minibatch size: expected at most the initial rollout of 2048 steps"),
    (resume, {"max_steps": 5}, "resume", "Run: required, but missing"),
    (gc, {"run_id": "one", "force": True}, "gc", "force: there is no such field; known: dry_run, keep_generations"),
    (evaluate, {"run_id": "one", "episodes": 0}, "evaluate", "Episodes: Input should be greater than or equal to 1"),
]


@pytest.mark.parametrize(("flow", "parameters", "kind", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_invalid_parameters_are_reported_in_a_sentence_and_in_the_runs_name(prefect_url, flow, parameters, kind, said):
    with get_client(sync_client=True) as client:
        created = client.create_flow_run(flow, parameters=parameters, name="daft-lemur")
        state = run_flow(flow, flow_run=created, parameters=parameters, return_type="state")
        run = client.read_flow_run(created.id)
    assert (state.type.value, run.state.type.value) == ("FAILED", "FAILED")
    assert run.state.message.startswith(said)
    assert run.name.startswith(f"{kind}, refused: {said}") and len(run.name) <= 200


def test_a_run_that_is_refused_later_has_the_reason_in_its_name_too(prefect_url, tmp_path, monkeypatch):
    monkeypatch.setattr("deployments.entrypoints.guard", lambda: None)
    monkeypatch.setenv("EVOLVE_STORE", str(tmp_path / "runs"))
    with get_client(sync_client=True) as client:
        for flow, parameters, name in (
            (
                evolve,
                {"environment": "Nowhere-v0"},
                "nowhere-v0 · pop 6 · seed 1, refused: Environment",
            ),
            (resume, {"run_id": "one"}, "resume one, refused: "),
        ):
            created = client.create_flow_run(flow, parameters=parameters, name="daft-lemur")
            assert run_flow(flow, flow_run=created, parameters=parameters, return_type="state").is_failed()
            assert client.read_flow_run(created.id).name.startswith(name)


def test_messages_of_failed_views_contain_no_password(prefect_url):
    @flow
    def warns() -> str:
        from prefect import runtime

        log = RunLog(make_config())
        log.warned("mlflow is behind: request to http://me:hunter2@host failed")
        log_to_run("http://me:hunter3@host does not answer")
        return runtime.flow_run.id

    flow_run = warns()

    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    which = {"logs": {"flow_run_id": {"any_": [flow_run]}}}
    found = httpx.post(f"{prefect_url}/logs/filter", json=which, auth=credentials()).json()
    said = " ".join(line["message"] for line in found)
    assert "http://me:***@host failed" in said and "http://me:***@host does not answer" in said
    assert "hunter" not in said
