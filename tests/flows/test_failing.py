"""How runs fail in the Prefect UI: one clear sentence as the state's message, the traceback below it in the log."""

import json

import httpx
import pytest
from distributed.scheduler import KilledWorker
from prefect import flow, task
from pydantic import BaseModel, ValidationError

from evo_core.config.parsing import ConfigError
from evo_core.records.failures import GenerationFailed
from flows.settings import BadInput
from tasks.logs.run_failures import fail_with_sentence, sentence
from tasks.member_tasks import train_member
from tasks.runs.ref import RunRef
from tasks.store import MissingError
from tests.conftest import make_config
from tests.fake import fake_config, fake_trainer, run_member
from tests.flows.conftest import ROOT
from tests.services import credentials


@pytest.fixture
def api(prefect_url):
    with httpx.Client(base_url=prefect_url, auth=credentials(), timeout=120) as client:
        yield client


def last_run(api, name):
    runs = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC", "limit": 1}
    (run,) = api.post("flow_runs/filter", json=runs).json()
    return run


def log(api, **ids):
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    found = api.post("logs/filter", json={"logs": {k: {"any_": [v]} for k, v in ids.items()}, "sort": "TIMESTAMP_ASC"})
    return [entry["message"] for entry in found.json()]


def test_a_refused_configuration_is_its_own_advice_and_the_caller_gets_the_error(api, tmp_path, monkeypatch):
    from flows.evolve import evolve

    monkeypatch.setenv("EVOLVE_STORE", str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match="package canary is not allowed here") as refused:
        evolve(make_config(**{"env.id": "canary.envs:Bird-v0", "seed": 5}), "refused")
    run = last_run(api, "canary.envs:bird-v0 · pop 3 · seed 5")
    assert (run["state_type"], run["state"]["message"]) == ("FAILED", str(refused.value))
    (failure,) = [message for message in log(api, flow_run_id=run["id"]) if "Traceback" in message]
    first, second, *_, last = failure.splitlines()
    assert first == str(refused.value)
    assert failure.index("Traceback (most recent call last)") > len(first) + len(second)
    assert "ConfigError" in last


@pytest.mark.slow
def test_a_failed_generation_gives_its_reason_in_run_subflow_and_tasks(cli, api):
    cli.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    faulty = {"env.kwargs": {"what": "nan_reward", "after": 30, "odds": 1.0}, "seed": 77}
    config = make_config("Probe/Faulty-v0", **faulty)
    said = cli("run", "--config", cli.config(config), "--run-id", "broken", "--workers", "1", "--json", expect=1)
    assert '"status": "failed"' in said.stdout
    assert "g0001/m00: nan_reward at step" in said.stderr
    assert "lower population.min_survivors" in said.stderr
    assert "fix the environment" in said.stderr
    assert "Traceback" not in said.stderr
    assert cli.run_store("broken").training(1, 0) is None  # so that a fixed environment is tried
    assert cli.run_store("broken").head().generation == 0
    result = json.loads(said.stdout)
    assert result["error"].startswith("GenerationFailed: generation 1: 0 of 3 members finished")
    run = last_run(api, "probe/faulty-v0 · pop 3 · seed 77")
    said = result["error"].removeprefix("GenerationFailed: ")
    assert run["state"]["message"] == said
    assert last_run(api, "generation 1")["state"]["message"] == said
    logged = log(api, flow_run_id=run["id"])
    assert any(message.startswith("g0001/m00 failed: nan_reward at step") for message in logged)
    assert any(message.startswith(f"{said}\n\nTraceback") for message in logged)
    inside = log(api, flow_run_id=last_run(api, "generation 1")["id"])
    assert len([m for m in inside if m.startswith("g0001/m00 failed: nan_reward at step")]) == 2  # the task, the flow


def test_a_failed_task_shows_its_advice_and_hides_credentials(api, prefect_url, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")

    @task(name="fetch")
    @fail_with_sentence
    def fetch(what: str) -> None:
        raise MissingError(f"{what} is gone; sent with wJalrXUtnFEMI")

    @flow(name="fetching", flow_run_name="fetching")
    @fail_with_sentence
    def fetching() -> None:
        fetch.submit("a blob").result()

    with pytest.raises(MissingError, match="a blob is gone; sent with wJalrXUtnFEMI"):
        fetching()
    run = last_run(api, "fetching")
    assert run["state"]["message"] == "a blob is gone; sent with ***"
    assert "wJalrXUtnFEMI" not in "\n".join(log(api, flow_run_id=run["id"]))


def test_an_unexpected_error_is_named_with_where_to_look(api, prefect_url):
    @flow(name="dividing", flow_run_name="dividing")
    @fail_with_sentence
    def dividing() -> float:
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        dividing()
    assert last_run(api, "dividing")["state"]["message"] == (
        "ZeroDivisionError: division by zero (unexpected; the log of this run has the traceback)"
    )


def test_a_flow_body_called_by_another_flow_raises_in_its_caller(api, prefect_url):
    @flow(name="inner")
    @fail_with_sentence
    def inner() -> None:
        raise BadInput("--store: nowhere")

    @flow(name="outer", flow_run_name="outer")
    @fail_with_sentence
    def outer() -> str:
        with pytest.raises(BadInput):
            inner.fn()
        return "went on"

    assert outer() == "went on"
    with pytest.raises(BadInput):
        inner.fn()


def test_a_flow_with_retries_is_tried_again(prefect_url):
    tries = []

    @flow(name="trying", retries=1)
    @fail_with_sentence
    def trying() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise GenerationFailed("not yet")
        return len(tries)

    assert trying() == 2


class _Form(BaseModel):
    steps: int


def test_messages_say_what_to_change():
    assert sentence(BadInput("--workers: expected at least 1")) == "--workers: expected at least 1"
    assert "A worker died repeatedly" in sentence(KilledWorker("train", None, 3))
    with pytest.raises(ValidationError) as wrong:
        _Form(steps="many")
    assert sentence(wrong.value).startswith("_Form: steps: Input should be a valid integer")
    assert sentence(KeyError()) == "KeyError (unexpected; the log of this run has the traceback)"


def test_without_prefect_tasks_log_nothing_and_exceptions_propagate(tmp_path):
    ref = RunRef(f"memory://{tmp_path}", "quiet", fake_config())
    with fake_trainer():
        with pytest.raises(MissingError):
            run_member(ref, 1, 0)
        from tests.fake import evolve

        head = evolve(ref)
        offspring = ref.open().commit(head.generation - 1).offspring[0]
        assert train_member.fn(ref, offspring).record == ref.open().training(head.generation, 0)
