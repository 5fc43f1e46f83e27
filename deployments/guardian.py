"""Report the final state of a flow run whose process has ended, from a separate process.

When Prefect's worker is stopped, it kills its flow runs, and no process is left to report their state to the server.
For a cancelled flow run it reports the state only after loading the flow (for hooks), which may take more than a
minute.

    python -m deployments.guardian FLOW_RUN ATTEMPT PROCESS WORKER
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
"""Maximum number of flow runs that Prefect's API returns per request."""

_PARTS = ("resume", "evaluate", "gc", "generation", "confirmation", "evaluation", "replay")
OURS = ("evolve", *(f"evolve-{part}" for part in _PARTS))
"""Names of our flows. Other flows of the server are never changed."""

OUTAGE_TIMEOUT_S = 60
"""Longest outage of the server that is waited for; after that, the automation reports the crash."""

PATIENCE_S = 2.0
"""Time that the worker has to report the final state, because its report has more details."""

CRASH_PREFIX = "Process exited with status code"
"""Beginning of the worker's message about a killed run once its output has ended; usually sent before the
guardian's."""

LATE_CRASH_PREFIX = "Flow run infrastructure exited"
"""Beginning of the worker's second message about a killed run, some seconds later."""

LATE_CANCEL_PREFIX = "Flow run was cancelled"
"""Beginning of the worker's message about a cancelled run, sent after it has loaded the flow."""

ENDED = "Cancel ended its process"
"""Beginning of a guardian's message about a cancelled run."""

KILLED = "Its process was killed"
"""Beginning of a guardian's message about a killed run."""

LATE_STATE_TIMEOUT_S = 180
"""Time limit for the worker's late messages: it loads the flow first, for hooks."""

POLL_S = 2
"""Interval at which a guardian polls for late messages."""

RESTORED = "Restored: a late report of the worker on an earlier attempt had overwritten this state."
"""Message of a state that a guardian restored."""


def guard() -> None:
    """Start a guardian that waits for the end of this flow run's process."""
    flow_run = UUID(runtime.flow_run.id)
    with get_client(sync_client=True) as client:
        attempt = len(_starts(client.read_flow_run_states(flow_run)))
    subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "evolve_rl.module", "deployments.guardian"),
            *map(str, (flow_run, attempt, os.getpid(), os.getppid())),
        ],
        # Prefect's client would retry for minutes, and then set a state that is outdated
        env={**os.environ, "PREFECT_CLIENT_MAX_RETRIES": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # signals to the worker's process group must not end this process
    )


def wait_for_end(flow_run: UUID, attempt: int, pid: int, worker: int) -> None:
    """Wait until a process has ended, then set the final state of its attempt at a flow run and of its subflows. After
    that, restore a Retry that a late message of the worker overwrites, as long as the worker lives.
    """
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    time.sleep(PATIENCE_S)
    _end(flow_run, attempt)
    ends = time.monotonic() + LATE_STATE_TIMEOUT_S
    lives = True
    while lives:
        lives = psutil.pid_exists(worker) and time.monotonic() < ends  # checked first, so that its last message is seen
        if _restore_retry(flow_run, attempt):
            return
        time.sleep(POLL_S)


def _starts(states: Sequence[State[Any]]) -> list[int]:
    """Return where a flow run's attempts started in its state history."""
    return [place for place, state in enumerate(states) if state.type in RUNNING and state.message != RESTORED]


_retry_outages = tenacity.retry(
    retry=tenacity.retry_if_exception_type((httpx.HTTPError, RuntimeError)),
    wait=tenacity.wait_exponential(multiplier=0.25, max=5),
    stop=tenacity.stop_after_delay(OUTAGE_TIMEOUT_S),
)


@_retry_outages
def _end(flow_run: UUID, attempt: int) -> None:
    with get_client(sync_client=True) as client:
        own = find_flow_runs(client, (*RUNNING, StateType.CANCELLING), flow_run_filter={"id": {"any_": [flow_run]}})
        if own and len(_starts(client.read_flow_run_states(flow_run))) != attempt:
            return  # a Retry has started another process, with its own guardian
        below = find_flow_runs(client, RUNNING, flow_run_filter={"parent_flow_run_id": {"any_": [flow_run]}})
        if own and own[0].state_type == StateType.CANCELLING:
            said: State = Cancelled(message=f"{ENDED}. The deployment resume continues its run.")
            for run in (*below, *own):
                client.set_flow_run_state(run.id, said.fresh_copy(), force=True)
            return
        crash(client, own, f"{KILLED}: its worker stopped, or memory ran out.")
        crash(client, below, "The process of its parent run was killed.")


@_retry_outages
def _restore_retry(flow_run: UUID, attempt: int) -> bool:
    """Restore the state set by a Retry, if the worker's delayed crash report has overwritten it.

    Return True if no further message is expected.
    """
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run)
        if len(starts := _starts(states)) < attempt:
            return True  # the flow run was deleted
        since = states[starts[attempt - 1] + 1 :]
        if since and _is_over(since):
            return True
        if len(since) < 3 or since[-2].is_final():
            return False
        word = since[-1].message or ""
        second = word.startswith((LATE_CRASH_PREFIX, LATE_CANCEL_PREFIX))
        # if a new attempt runs, this message may be about that one
        late = (
            word.startswith(CRASH_PREFIX) and (since[0].message or "").startswith(KILLED) and _is_waiting(since[1:-1])
        )
        if second or late:
            undone = State(type=since[-2].type, name=since[-2].name, message=RESTORED)
            client.set_flow_run_state(flow_run, undone, force=True)
        return second


def _is_over(since: Sequence[State[Any]]) -> bool:
    """Return True if an attempt has ended and the worker will not send another message about it."""
    last, ours = since[-1], [state for state in since if (state.message or "").startswith(ENDED)]
    if last.type != StateType.CANCELLED or not ours:
        return last.type in (StateType.COMPLETED, StateType.CANCELLED)
    return last is not ours[-1] and since[-2].is_final()


def _is_waiting(states: Sequence[State[Any]]) -> bool:
    return all(state.type in (StateType.SCHEDULED, StateType.PENDING) for state in states)


def find_flow_runs(
    client: SyncPrefectClient, states: Sequence[StateType], pool: str | None = None, **which: Any
) -> list[FlowRun]:
    """Return our flow runs in these states, of one pool or of all pools.

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
    """Mark the flow runs of a pool whose only worker has ended as crashed, including their subflows."""
    own = find_flow_runs(client, (*RUNNING, StateType.PENDING, StateType.CANCELLING), pool)
    for run in own:
        below = find_flow_runs(client, RUNNING, flow_run_filter={"parent_flow_run_id": {"any_": [run.id]}})
        crash(client, below, message)
    crash(client, own, message)


def crash(client: SyncPrefectClient, runs: list[FlowRun], message: str) -> None:
    """Mark flow runs as crashed; Retry continues them."""
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message=f"{message} Retry continues it."), force=True)


if __name__ == "__main__":
    wait_for_end(UUID(sys.argv[1]), *map(int, sys.argv[2:]))
