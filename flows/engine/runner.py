"""The engine: a Dask client and cluster, opened once for a whole run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import dask
from distributed import Client
from prefect import Task
from prefect.task_runners import TaskRunner
from prefect_dask import DaskTaskRunner
from prefect_dask.task_runners import PrefectDaskFuture

from evo_core.records.chain import FailureReason
from flows.engine.clusters import open_cluster
from flows.engine.worker_monitor import WorkerMonitor, list_workers
from flows.engine.worker_packages import prefer_own_packages
from flows.observers.observer import observer
from flows.settings import Settings
from flows.slots import GPU_TAG, RESOURCE
from flows.worker_topics import subscribe
from tasks.logs.run_log import flush_logs
from tasks.runs.ref import RunRef
from tasks.worker.watchdog import ended_topic


class MemberRunner(DaskTaskRunner):
    """Task runner for members: on workers that declare `resources`, under a Prefect tag with a concurrency limit."""

    def __init__(self, *, resources: Mapping[str, float] | None = None, tag: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.resources, self.tag = resources, tag

    def duplicate(self) -> "MemberRunner":
        """Return a copy for the next flow run."""
        return MemberRunner(
            resources=self.resources, tag=self.tag, address=self.address, client_kwargs=self.client_kwargs
        )

    def submit(  # type: ignore[override]  # the base class declares futures of threads
        self, task: Task[Any, Any], parameters: dict[str, Any], wait_for: Any = None, dependencies: Any = None
    ) -> PrefectDaskFuture[Any]:
        """Submit one task."""
        if self.tag is not None:
            task = task.with_options(tags={*task.tags, self.tag})
        with dask.annotate(resources=dict(self.resources)) if self.resources else nullcontext():
            future = self.client.submit(
                task,
                parameters=self._optimize_futures(parameters),
                wait_for=self._optimize_futures(wait_for) if wait_for else None,
                dependencies=dependencies,
                return_type="state",
                pure=False,  # else Dask hashes the pickled task for its key, which takes half of a submission
            )
        return PrefectDaskFuture(wrapped_future=future, task_run_id=future.task_run_id)


FLUSH_S = 5.0
"""Time limit for the logs of workers at the end of a run."""


@contextmanager
def open_engine(settings: Settings, members: int) -> Iterator[TaskRunner[Any]]:
    """Open a local cluster or one of the configured class, or connect to an existing scheduler.

    Yields a task runner for all generations once a worker has started. Processes started here are stopped; an existing
    cluster is left unchanged.
    """
    existing = settings.engine.startswith(("tcp://", "tls://"))
    with nullcontext() if existing else open_cluster(settings, members) as cluster:
        address = settings.engine if cluster is None else cluster.scheduler_address
        security = getattr(cluster, "security", None)
        warn = observer().warned
        with Client(address, security=security, set_as_default=False) as client:
            prefer_own_packages(client)
            monitor = WorkerMonitor(client, cluster, warn)
            with monitor.running():
                resources = _resources(client, settings, warn)
                monitor.require(RESOURCE if resources else None)
                tag = settings.slots_tag or (GPU_TAG if settings.device == "cuda" or resources else None)
                options = {"address": address, "client_kwargs": {"security": security} if security else None}
                try:
                    yield MemberRunner(resources=resources, tag=tag, **options)
                finally:
                    if not existing:
                        _flush(client)


def subscribe_to_worker_exits(ref: RunRef) -> dict[str, FailureReason]:
    """Subscribe to notices of workers that end themselves, sent a second before, with the member and the reason.

    In a flow run whose tasks run on the engine.
    """
    reasons: dict[str, FailureReason] = {}
    subscribe(ended_topic(ref.session), lambda said: reasons.update({said["uid"]: said["reason"]}))
    return reasons


def _flush(client: Client) -> None:
    """Flush the logs of workers that are about to stop, with a timeout for hanging ones."""
    with suppress(OSError):  # a timeout is one
        client.run(flush_logs, on_error="ignore", callback_timeout=FLUSH_S)


def _resources(client: Client, settings: Settings, warn: Callable[[str], None]) -> Mapping[str, float] | None:
    """Return the resources of a member's tasks: a GPU if workers declare one and the device setting allows it."""
    workers = list_workers(client).values()
    if any(worker["nthreads"] > 1 for worker in workers):
        warn(
            "workers with several threads run several members in one process, which slow each other down and end "
            "together; start them with --nthreads 1"
        )
    declared = any(RESOURCE in worker["resources"] for worker in workers)
    return {RESOURCE: 1} if declared and settings.device != "cpu" else None
