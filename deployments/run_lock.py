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
"""How long a flow run that was killed keeps others away: Prefect's shortest lease."""

WAIT_S = 90
"""How often a waiting flow run asks whether there is anybody to wait for."""


@contextmanager
def lock_run(run_id: str) -> Iterator[None]:
    """Wait until no other flow run of this server works on a run, and keep others away during the body.

    Politeness, not safety: should the lease be lost while the API is away, the store still lets only one chain exist.
    The limit stays when the body ends: others may wait at it.
    """
    name = f"evolve-run-{run_id}"
    with ExitStack() as stack, get_client(sync_client=True) as client:
        _mark(client, name, works=False)  # a Retry was marked as working when it was killed
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
                # a server that was killed has forgotten the lease, and never ends it; one alone of all who wait does
                if not _running(client, name) and _running(client, _waiting(name))[:1] == [runtime.flow_run.id]:
                    get_run_logger().warning(f"nobody works on {run_id} any more; reclaiming a stale lock")
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
    """List the flow runs that are said to run under a tag, in an order that is the same for all who ask."""
    tagged = {"tags": {"all_": [tag]}, "state": {"type": {"any_": [StateType.RUNNING]}}}
    return sorted(str(run.id) for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(tagged)))


def _limit(client: SyncPrefectClient, name: str) -> GlobalConcurrencyLimitResponse:
    """Return a limit, created if it does not exist."""
    try:
        return client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):  # another flow run was as fast
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        return client.read_global_concurrency_limit_by_name(name)
