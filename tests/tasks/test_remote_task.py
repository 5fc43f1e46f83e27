"""Tasks are sent to workers by name, in small messages, with a context that is read once."""

import pickle
from contextvars import Context
from uuid import uuid4

import pytest
from prefect import flow, runtime, task
from prefect.context import SettingsContext, get_run_context
from prefect.states import Completed

from evo_core.evolution.population import create_population
from tasks.member_tasks import train_member
from tasks.runs.ref import RunRef
from tasks.worker.remote_task import _read, run_task, task_name, write_context
from tests.fake import SPACES, fake_config

CONFIG = fake_config(2)

MEMBER_BYTES, CONTEXT_BYTES = 5_000, 15_000
"""Limits of what is sent with a member's task: its arguments, and the context of its flow run."""


@task(persist_result=False)
def describe(text: str, number: int) -> tuple[str, int, object, set[str], object]:
    """Return the arguments, and the run context of the task."""
    context = get_run_context()
    return text, number, context.task_run.flow_run_id, set(context.task_run.tags), SettingsContext.get()


@flow(persist_result=False)
def submitting() -> tuple[object, bytes, bytes]:
    """Write the context of this flow run twice."""
    return runtime.flow_run.id, write_context(), write_context()


@pytest.fixture(scope="module")
def submitted(prefect_url):
    return submitting()


def test_a_task_runs_under_its_name_in_the_flow_run_that_submitted_it(submitted):
    flow_run_id, context, _ = submitted
    arguments = {"text": "as it is", "number": Completed(data=3)}
    state = Context().run(run_task, task_name(describe), frozenset({"gpu"}), uuid4(), arguments, {}, context)
    text, number, found, tags, _ = state.result()
    assert (text, number, str(found), tags) == ("as it is", 3, str(flow_run_id), {"gpu"})


def test_settings_reach_a_worker_as_they_are_and_are_read_once(submitted):
    _, first, second = submitted
    assert first == second
    here, arguments = SettingsContext.get(), {"text": "", "number": 0}
    there = [
        Context().run(run_task, task_name(describe), frozenset(), uuid4(), arguments, {}, context).result()[-1]
        for context in (first, pickle.loads(pickle.dumps(first)))
    ]
    assert there[0].settings.model_dump() == here.settings.model_dump()
    assert there[0].profile == here.profile
    assert there[0].settings is there[1].settings
    assert _read(first) is _read(second)


def test_the_message_that_submits_a_member_is_small(submitted):
    _, context, _ = submitted
    run = RunRef("s3://bucket/runs", "run", CONFIG)
    offspring = create_population(CONFIG, SPACES.observation).offspring[-1]
    sent = pickle.dumps((run_task, task_name(train_member), frozenset(), uuid4(), {"run": run, "offspring": offspring}))
    assert len(sent) < MEMBER_BYTES
    assert len(context) < CONTEXT_BYTES
