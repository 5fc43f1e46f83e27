"""A lock per run, so that only one flow run at a time works on it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from prefect import get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

LEASE_S = 60
"""Time until the lock of a killed flow run expires: Prefect's shortest lease."""

WAIT_S = 90
"""Interval at which a waiting flow run checks whether the lock is stale."""


@contextmanager
def lock_run(run_id: str) -> Iterator[None]:
    """Hold the lock of a run during the body; wait until no other flow run of this server holds it.

    The lock saves duplicate work and is not needed for correctness: if the lease is lost during an outage of the API,
    the store still admits one chain only. The concurrency limit is not deleted afterwards, because others may be
    waiting for it.
    """
    name = f"evolve-run-{run_id}"
    with ExitStack() as stack, get_client(sync_client=True) as client:
        _mark(client, name, works=False)  # remove the tag of a killed attempt
        if _limit(client, name).active_slots:
            get_run_logger().warning(
                f"another flow run works on {run_id}, or was killed less than {LEASE_S} s ago; waiting for it to end"
            )
        while True:
            turn = concurrency(
                name, timeout_seconds=WAIT_S, lease_duration=LEASE_S, strict=True, raise_on_lease_renewal_failure=False
            )
            try:
                stack.enter_context(turn)
                break
            except TimeoutError:
                # a killed server never releases its leases; exactly one of the waiting flow runs releases them
                if not _running(client, name) and _running(client, _waiting(name))[:1] == [runtime.flow_run.id]:
                    get_run_logger().warning(f"no flow run works on {run_id} any more; reclaiming a stale lock")
                    client.release_concurrency_slots([name], slots=1, occupancy_seconds=LEASE_S)
        _mark(client, name, works=True)
        yield


def _waiting(tag: str) -> str:
    """Return the tag of flow runs that wait for a run's lock."""
    return f"{tag}-waits"


def _mark(client: SyncPrefectClient, tag: str, *, works: bool) -> None:
    """Tag this flow run with the run that it works on or waits for."""
    run = client.read_flow_run(runtime.flow_run.id)
    now = tag if works else _waiting(tag)
    client.update_flow_run(run.id, tags={*run.tags, now} - ({tag, _waiting(tag)} - {now}))


def _running(client: SyncPrefectClient, tag: str) -> list[str]:
    """Return the ids of running flow runs with a tag, sorted."""
    tagged = {"tags": {"all_": [tag]}, "state": {"type": {"any_": [StateType.RUNNING]}}}
    return sorted(str(run.id) for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(tagged)))


def _limit(client: SyncPrefectClient, name: str) -> GlobalConcurrencyLimitResponse:
    """Return a limit, created if it does not exist."""
    try:
        return client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # created concurrently by another flow run
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        return client.read_global_concurrency_limit_by_name(name)
