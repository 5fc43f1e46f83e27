"""Worker monitoring: restart workers that Dask gave up, and report when there are none."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Client, Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster

from flows.settings import Failed
from flows.slots import RESOURCE

INTERVAL_S = 1.0
PATIENCE_S = 5.0
"""Time without a worker after which a warning is issued."""

HEAL_TIMEOUT_S = 120.0

FAILURES = 5
"""Number of failed starts of workers, without a successful one, after which a run fails."""


class WorkerMonitor:
    """Monitors the workers of a cluster in a separate thread; `cluster` is None for an existing scheduler."""

    def __init__(self, client: Client, cluster: Cluster | None, warn: Callable[[str], None]) -> None:
        self.client, self.cluster, self.warn = client, cluster, warn
        self.resource: str | None = None
        self.failure: Exception | None = None
        self.failures = 0
        self.last_error: Exception | None = None
        self._seen, self._warned = time.monotonic(), False
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-monitor", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Monitor workers during the body, which starts after the first worker; raise Failed if none starts."""
        self._thread.start()
        try:
            self._ready.wait()
            if self.failure is not None:
                raise Failed(
                    f"no worker of {scheduler_of(self.client).address} starts: {self.failure}; free memory or lower "
                    "--workers, and see `evolve doctor`"
                ) from self.failure
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def require(self, resource: str | None) -> None:
        """From now on, count only workers that declare a resource."""
        self.resource = resource

    def _run(self) -> None:
        while not self._stop.is_set():
            if isinstance(self.cluster, SpecCluster):
                self._restart_workers(self.cluster)
            with suppress(OSError):  # the scheduler is unreachable: the run's own tasks report it
                self._check_workers()
            self._stop.wait(INTERVAL_S)

    def _restart_workers(self, cluster: SpecCluster) -> None:
        """Restart missing workers. Dask does not restart a worker that died during its first start. It checks a lost
        worker once, 15 s later, and removes it for good if it is just starting again then.
        """
        try:
            cluster.sync(_restore, cluster, callback_timeout=HEAL_TIMEOUT_S)
        except Exception as error:  # cluster classes raise any exception; the next iteration retries
            self.last_error = error
            self.failures += 1
            if self.failures == FAILURES:
                self.failure = error
                self.warn(f"workers fail to start: {error}")
                self._ready.set()

    def _check_workers(self) -> None:
        workers = list_workers(self.client).values()
        if any(self.resource is None or self.resource in worker["resources"] for worker in workers):
            self._seen, self._warned, self.failures, self.last_error = time.monotonic(), False, 0, None
            self._ready.set()
        elif not self._warned and time.monotonic() - self._seen > PATIENCE_S:
            self._warned = True
            self.warn(self._missing())

    def _missing(self) -> str:
        address = scheduler_of(self.client).address
        flag = f" --resources {RESOURCE}=1" if self.resource else ""
        kind = f"worker with the resource {self.resource}" if self.resource else "worker"
        advice = "" if self.cluster is not None else f"; start some: dask worker {address} --nthreads 1{flag}"
        if self.last_error is not None:
            advice = f"; the last one that failed to start: {str(self.last_error) or type(self.last_error).__name__}"
        return f"no {kind} at {address}, the run waits for one{advice}"


def scheduler_of(client: Client) -> Any:
    """Return the connection to a client's scheduler, which it has while it is open."""
    return client.scheduler


def list_workers(client: Client) -> Mapping[str, Mapping[str, Any]]:
    """List a cluster's workers by address.

    Client.scheduler_info is not used, because a periodic callback of the client overwrites it without workers.
    """
    workers: Mapping[str, Mapping[str, Any]] = client.sync(scheduler_of(client).identity, n_workers=-1)["workers"]
    return workers


async def _restore(cluster: SpecCluster) -> None:
    """Close failed workers and start all missing ones; raise the exception of a worker that fails again. Workers with
    status `created` failed to start before. Specifications keep their names, so each worker keeps its slot.
    """
    dead = {
        name: cluster.worker_spec[name]
        for name, worker in cluster.workers.items()
        if name in cluster.worker_spec and worker.status in (Status.created, Status.failed, Status.closed)
    }
    if dead:
        try:
            await cluster.scale_down(list(dead))
        finally:  # closing a worker that never started may fail
            cluster.worker_spec.update(dead)
    if set(cluster.worker_spec) - set(cluster.workers):
        await cluster
