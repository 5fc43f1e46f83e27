"""Reports the final state of a flow run whose process has ended, from a process of its own.

Prefect's worker kills the runs that it has when it is told to end, and then there is nobody left to tell the server.
Of a run that is cancelled it says so only after it has loaded the flow, for hooks, which may take a minute and more.
`python -m deployments.guardian FLOW_RUN ATTEMPT PROCESS WORKER`
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
import psutil
import tenacity
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed, State

RUNNING = (StateType.RUNNING,)
PAGE_SIZE = 200
"""Flow runs that Prefect's API returns at once, at most."""

_PARTS = ("resume", "evaluate", "gc", "generation", "confirmation", "evaluation", "replay")
OURS = ("evolve", *(f"evolve-{part}" for part in _PARTS))
"""The names of our flows; a server may have others, and those are not ours to end."""

OUTAGE_TIMEOUT_S = 60
"""How long the server may be away; after that the automation says it."""

PATIENCE_S = 2.0
"""How long the worker has to say how the run ended: it knows more."""

CRASH_PREFIX = "Process exited with status code"
"""How Prefect's worker begins what it says of a killed run once its output has ended; mostly sooner than a guardian."""

LATE_CRASH_PREFIX = "Flow run infrastructure exited"
"""How it begins what it says some seconds after that."""

LATE_CANCEL_PREFIX = "Flow run was cancelled"
"""How it begins what it says of a run that was cancelled, after it has loaded the flow."""

ENDED = "Cancel ended its process"
"""How a guardian begins what it says of a cancelled run."""

KILLED = "Its process was killed"
"""How a guardian begins what it says of a killed run."""

LATE_STATE_TIMEOUT_S = 180
"""How long it may take until it says the last of these: it loads the flow before, for hooks."""

POLL_S = 2
"""How often a guardian looks whether it has."""

PUT_BACK = "Restored: a late report of the worker on an earlier attempt had overwritten this state."
"""The message of a state that a guardian put back."""


def guard() -> None:
    """Start a guardian that waits for the end of this flow run's process."""
    flow_run = UUID(runtime.flow_run.id)
    with get_client(sync_client=True) as client:
        attempt = len(_starts(client.read_flow_run_states(flow_run)))
    subprocess.Popen(
        [sys.executable, "-m", "deployments.guardian", *map(str, (flow_run, attempt, os.getpid(), os.getppid()))],
        # a request that Prefect's client repeats by itself, for minutes, would set a state for what was true before
        env={**os.environ, "PREFECT_CLIENT_MAX_RETRIES": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends the worker and its processes must not end this one
    )


def wait_for_end(flow_run: UUID, attempt: int, pid: int, worker: int) -> None:
    """Wait until a process has ended, then see to it that its attempt at a flow run has, and those below it.

    After that, a Retry is kept from being undone, as long as the worker lives.
    """
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    time.sleep(PATIENCE_S)
    _end(flow_run, attempt)
    ends = time.monotonic() + LATE_STATE_TIMEOUT_S
    lives = True
    while lives:
        lives = psutil.pid_exists(worker) and time.monotonic() < ends  # before the look: its last word is seen
        if _restore_retry(flow_run, attempt):
            return
        time.sleep(POLL_S)


def _starts(states: Sequence[State[Any]]) -> list[int]:
    """Return where a flow run's attempts started in its state history."""
    return [place for place, state in enumerate(states) if state.type in RUNNING and state.message != PUT_BACK]


_while_the_server_is_away = tenacity.retry(
    retry=tenacity.retry_if_exception_type((httpx.HTTPError, RuntimeError)),
    wait=tenacity.wait_exponential(multiplier=0.25, max=5),
    stop=tenacity.stop_after_delay(OUTAGE_TIMEOUT_S),
)


@_while_the_server_is_away
def _end(flow_run: UUID, attempt: int) -> None:
    with get_client(sync_client=True) as client:
        own = find_flow_runs(client, (*RUNNING, StateType.CANCELLING), flow_run_filter={"id": {"any_": [flow_run]}})
        if own and len(_starts(client.read_flow_run_states(flow_run))) != attempt:
            return  # it was tried again meanwhile, by a process that has a guardian of its own
        below = find_flow_runs(client, RUNNING, flow_run_filter={"parent_flow_run_id": {"any_": [flow_run]}})
        if own and own[0].state_type == StateType.CANCELLING:
            said = Cancelled(message=f"{ENDED}. The deployment resume continues its run.")
            for run in (*below, *own):
                client.set_flow_run_state(run.id, said.fresh_copy(), force=True)
            return
        crash(client, own, f"{KILLED}: its worker stopped, or memory ran out.")
        crash(client, below, "The process of its parent run was killed.")


@_while_the_server_is_away
def _restore_retry(flow_run: UUID, attempt: int) -> bool:
    """Restore the state set by a Retry, if the worker's delayed crash report has overwritten it.

    Return whether there is nothing more to wait for.
    """
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run)
        if len(starts := _starts(states)) < attempt:
            return True  # it was deleted
        since = states[starts[attempt - 1] + 1 :]
        if since and _is_over(since):
            return True
        if len(since) < 3 or since[-2].is_final():
            return False
        word = since[-1].message or ""
        second = word.startswith((LATE_CRASH_PREFIX, LATE_CANCEL_PREFIX))
        # of a new attempt that runs, the first word may be its own
        late = word.startswith(CRASH_PREFIX) and (since[0].message or "").startswith(KILLED) and _waits(since[1:-1])
        if second or late:
            undone = State(type=since[-2].type, name=since[-2].name, message=PUT_BACK)
            client.set_flow_run_state(flow_run, undone, force=True)
        return second


def _is_over(since: Sequence[State[Any]]) -> bool:
    """Return True if an attempt has ended, and the worker has nothing more to say about it."""
    last, ours = since[-1], [state for state in since if (state.message or "").startswith(ENDED)]
    if last.type != StateType.CANCELLED or not ours:
        return last.type in (StateType.COMPLETED, StateType.CANCELLED)
    return last is not ours[-1] and since[-2].is_final()


def _waits(states: Sequence[State[Any]]) -> bool:
    return all(state.type in (StateType.SCHEDULED, StateType.PENDING) for state in states)


def find_flow_runs(
    client: SyncPrefectClient, states: Sequence[StateType], pool: str | None = None, **which: Any
) -> list[FlowRun]:
    """Return our flow runs in these states, of a pool or of all.

    `flow_run_filter` may hold more fields of Prefect's FlowRunFilter.
    """
    chosen = {**which.get("flow_run_filter", {}), "state": {"type": {"any_": [*states]}}}
    ours = FlowFilter.model_validate({"name": {"any_": [*OURS]}})
    pools = WorkPoolFilter.model_validate({"name": {"any_": [pool]}}) if pool else None
    found: list[FlowRun] = []
    while page := client.read_flow_runs(
        flow_filter=ours,
        flow_run_filter=FlowRunFilter.model_validate(chosen),
        work_pool_filter=pools,
        limit=PAGE_SIZE,
        offset=len(found),
    ):
        found.extend(page)
    return found


def crash_leftovers(client: SyncPrefectClient, pool: str, message: str) -> None:
    """Mark as crashed what a pool is said to run, with everything below it: its only worker has ended."""
    own = find_flow_runs(client, (*RUNNING, StateType.PENDING, StateType.CANCELLING), pool)
    for run in own:
        below = find_flow_runs(client, RUNNING, flow_run_filter={"parent_flow_run_id": {"any_": [run.id]}})
        crash(client, below, message)
    crash(client, own, message)


def crash(client: SyncPrefectClient, runs: list[FlowRun], message: str) -> None:
    """Mark flow runs as crashed; Retry goes on with them."""
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message=f"{message} Retry continues it."), force=True)


if __name__ == "__main__":
    wait_for_end(UUID(sys.argv[1]), *map(int, sys.argv[2:]))
