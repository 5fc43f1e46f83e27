"""The engine: a Dask client and cluster, opened once for a whole run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from uuid import uuid4

from distributed import Client
from prefect import Task
from prefect.task_runners import TaskRunner
from prefect.utilities.engine import collect_task_run_inputs_sync
from prefect_dask import DaskTaskRunner
from prefect_dask.task_runners import PrefectDaskFuture

from evo_core.records.chain import FailureReason
from flows.engine.clusters import open_cluster
from flows.engine.worker_monitor import WorkerMonitor, list_workers
from flows.engine.worker_packages import prefer_own_packages_on_workers
from flows.observers.observer import observer
from flows.settings import Settings
from flows.slots import GPU_TAG, RESOURCE
from flows.worker_topics import subscribe
from tasks.logs.run_log import flush_logs
from tasks.runs.ref import RunRef
from tasks.worker.remote_task import run_task, task_name, write_context
from tasks.worker.watchdog import ended_topic


class MemberRunner(DaskTaskRunner):
    """Task runner for members: on workers that declare `resources`, under a Prefect tag with a concurrency limit."""

    def __init__(self, *, resources: Mapping[str, float] | None = None, tag: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.resources, self.tag = resources, tag
        self._context: bytes | None = None  # of the flow run, each of which has a runner of its own

    def duplicate(self) -> "MemberRunner":
        """Return a copy for the next flow run."""
        return MemberRunner(
            resources=self.resources, tag=self.tag, address=self.address, client_kwargs=self.client_kwargs
        )

    def submit(  # type: ignore[override]  # the base class declares futures of threads
        self, task: Task[Any, Any], parameters: dict[str, Any], wait_for: Any = None, dependencies: Any = None
    ) -> PrefectDaskFuture[Any]:
        """Submit one task; arguments may be futures of other tasks, but not contain any."""
        tags = frozenset(task.tags) | ({self.tag} if self.tag is not None else set())
        if self._context is None:
            self._context = write_context()
        task_run_id = uuid4()
        inputs: dict[str, set[Any]] = {name: set() for name in parameters}
        for name, value in parameters.items():
            if isinstance(value, PrefectDaskFuture):
                inputs[name] = collect_task_run_inputs_sync(value)
        for name, found in (dependencies or {}).items():
            inputs[name] = inputs.get(name, set()) | found
        future = self.client.submit(
            run_task,
            task_name(task),
            tags,
            task_run_id,
            {name: _wrapped(value) for name, value in parameters.items()},
            inputs,
            self._context,
            [_wrapped(value) for value in wait_for] if wait_for else None,
            key=f"{task.fn.__name__}-{task_run_id}",
            resources=dict(self.resources) if self.resources else None,
            pure=False,
        )
        return PrefectDaskFuture(wrapped_future=future, task_run_id=task_run_id)


def _wrapped(value: Any) -> Any:
    """Return the Dask future of a Prefect future, and anything else unchanged."""
    return value.wrapped_future if isinstance(value, PrefectDaskFuture) else value


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
            prefer_own_packages_on_workers(client)
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
