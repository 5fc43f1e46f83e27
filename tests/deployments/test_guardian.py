"""How a guardian corrects the late states that Prefect's worker sets on killed runs, on a real server."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running

from deployments.guardian import (
    CRASH_PREFIX,
    ENDED,
    KILLED,
    LATE_CANCEL_PREFIX,
    LATE_CRASH_PREFIX,
    _end,
    _restore_retry,
)

OURS = Crashed(message=f"{KILLED}: its worker stopped.")
FIRST = Crashed(message=f"{CRASH_PREFIX}: -9.")
SECOND = Crashed(message=f"{LATE_CRASH_PREFIX} with non-zero status code -9.")
GONE = Cancelled(message=f"{ENDED}.")
LATE = Cancelled(message=f"{LATE_CANCEL_PREFIX} successfully.")


@flow(name="evolve")
def work() -> None:
    """A flow that does nothing."""


@pytest.mark.parametrize(
    ("history", "kept", "state"),
    [
        ([Running(), FIRST, AwaitingRetry(), SECOND], True, "AwaitingRetry"),
        ([Running(), Failed(), AwaitingRetry(), SECOND], True, "AwaitingRetry"),
        ([Running(), FIRST, AwaitingRetry(), Pending(), SECOND], True, "Pending"),
        ([Running(), FIRST, AwaitingRetry(), Pending(), Running(), SECOND], True, "Running"),
        ([Running(), FIRST], False, "Crashed"),
        ([Running(), SECOND], False, "Crashed"),
        ([Running(), FIRST, AwaitingRetry()], False, "AwaitingRetry"),
        ([Running(), FIRST, AwaitingRetry(), Running(), FIRST], False, "Crashed"),
        (
            [Running(), OURS, AwaitingRetry(), FIRST],
            False,
            "AwaitingRetry",
        ),  # the worker's delayed crash message is still to come
        ([Running(), OURS, AwaitingRetry(), Pending(), FIRST], False, "Pending"),
        ([Running(), OURS, AwaitingRetry(), FIRST, AwaitingRetry(), SECOND], True, "AwaitingRetry"),
        ([Running(), OURS, AwaitingRetry(), Running(), FIRST], False, "Crashed"),
        ([Running(), FIRST, AwaitingRetry(), Running(), Completed()], True, "Completed"),
        ([Running(), Cancelling(), GONE], False, "Cancelled"),  # the worker's message is still to come
        ([Running(), Cancelling(), GONE, LATE], True, "Cancelled"),
        ([Running(), Cancelling(), LATE], True, "Cancelled"),
        ([Running(), Cancelling(), GONE, AwaitingRetry()], False, "AwaitingRetry"),
        ([Running(), Cancelling(), GONE, AwaitingRetry(), LATE], True, "AwaitingRetry"),
        ([Running(), Cancelling(), GONE, AwaitingRetry(), Pending(), Running(), LATE], True, "Running"),
        ([Running(), Cancelling(), GONE, AwaitingRetry(), Running(), Completed()], True, "Completed"),
    ],
)
def test_a_retry_survives_the_delayed_crash_message(prefect_url, history, kept, state):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(work)
        for passed in history:
            client.set_flow_run_state(run.id, passed.fresh_copy(), force=True)
        assert _restore_retry(run.id, attempt=1) is kept
        assert client.read_flow_run(run.id).state.name == state


def test_a_second_attempts_guardian_looks_at_its_own_end(prefect_url):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(work)
        for passed in (Running(), FIRST, AwaitingRetry(), SECOND, AwaitingRetry(), Running(), SECOND):
            client.set_flow_run_state(run.id, passed.fresh_copy(), force=True)
        assert _restore_retry(run.id, attempt=2) is False
        assert client.read_flow_run(run.id).state.name == "Crashed"


def test_an_attempt_that_was_put_back_to_running_is_still_known_to_its_own_guardian(prefect_url):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(work)
        for passed in (Running(), FIRST, AwaitingRetry(), Pending(), Running(), SECOND):
            client.set_flow_run_state(run.id, passed.fresh_copy(), force=True)
        assert _restore_retry(run.id, attempt=1) is True
        _end(run.id, attempt=1)
        assert client.read_flow_run(run.id).state.name == "Running"
        _end(run.id, attempt=2)
        assert client.read_flow_run(run.id).state.name == "Crashed"
        assert _restore_retry(run.id, attempt=2) is False
        assert client.read_flow_run(run.id).state.name == "Crashed"


def test_a_cancelled_run_whose_process_has_ended_is_cancelled_at_once(prefect_url):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(work)
        for passed in (Running(), Cancelling()):
            client.set_flow_run_state(run.id, passed, force=True)
        _end(run.id, attempt=2)
        assert client.read_flow_run(run.id).state.name == "Cancelling", "another attempt has a guardian of its own"
        _end(run.id, attempt=1)
        state = client.read_flow_run(run.id).state
        assert (state.name, state.type.value) == ("Cancelled", "CANCELLED")
        assert state.message.startswith(ENDED)
