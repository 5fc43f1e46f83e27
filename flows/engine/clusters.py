"""Dask clusters that a run opens and closes: local ones, or of a named cluster class."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import LocalCluster
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.utils import get_mp_context

from flows.engine.forkserver import START_METHOD, start_forkserver
from flows.engine.nanny import MainThreadNanny
from flows.settings import BadInput, Settings
from flows.slots import RESOURCE, VISIBLE, Slot, least_used
from tasks.worker.profiler import OFF

ATTEMPTS = 3
"""Number of worker deaths per member before the flow retries it alone."""

CONFIG = {
    "distributed.worker.daemon": True,
    "distributed.admin.log-format": "%(message)s",
    "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
    # debugging aid of Dask: it keeps the last messages to every worker, each with a full task
    "distributed.admin.low-level-log-length": 10,
    **OFF,
    # an adaptive cluster starts a worker per ready member, not per five seconds of work
    "distributed.adaptive.target-duration": "1ms",
    "distributed.adaptive.wait-count": 30,  # seconds that a worker may be idle: between generations it soon has work
}


class SlotCluster(LocalCluster):
    """A local cluster whose workers have slots: each gets its own environment and declares its own resources."""

    def __init__(self, slots: tuple[Slot, ...], **options: Any) -> None:
        self.slots = slots
        super().__init__(n_workers=0, worker_class=MainThreadNanny, **options)  # type: ignore[no-untyped-call]

    def new_worker_spec(self) -> dict[Any, dict[str, Any]]:
        """Describe one more worker, on the slot that is used least."""
        ((name, spec),) = super().new_worker_spec().items()  # type: ignore[no-untyped-call]
        others = (worker["options"] for worker in self.worker_spec.values())
        slot = least_used(self.slots, [Slot(other["env"] or {}, other["resources"] or {}) for other in others])
        placed = {"env": dict(slot.environment) or None, "resources": dict(slot.resources) or None}
        return {name: {**spec, "options": {**spec["options"], **placed}}}


@contextmanager
def open_cluster(settings: Settings, members: int) -> Iterator[Cluster]:
    """Open the cluster of a run and request its workers; it closes with the body. Its monitor
    (flows/engine/worker_monitor.py) starts them, so that one that fails to start is seen there.
    """
    with dask.config.set(CONFIG):
        local = settings.engine == "local"
        slots = settings.slots(members)
        with open_local(slots, settings.gpus) if local else settings.cluster_class()() as cluster:
            _require_single(cluster, settings.engine)
            fewest, most = settings.scale or (members, members)
            most = len(slots) if local else min(most, members)
            if settings.scale is not None and fewest < settings.scale[1]:
                cluster.adapt(minimum=min(fewest, most), maximum=most)
            else:
                request_workers(cluster, most)
            yield cluster


def _require_single(cluster: Cluster, engine: str) -> None:
    """Reject jobs with several workers, which Dask counts as one if the number comes from its configuration file."""
    per_job = getattr(getattr(cluster, "_dummy_job", None), "worker_processes", 1)
    if per_job > 1:
        raise BadInput(
            f"--engine {engine}: its jobs have {per_job} workers each, and would start {per_job} times as many as "
            "requested; set cores: 1 and processes: 1 in Dask's configuration file, and the memory of one worker"
        )


def request_workers(cluster: Cluster, count: int) -> None:
    """Set the number of workers that a cluster should have."""
    if not isinstance(cluster, SpecCluster):
        cluster.scale(count)
        return
    while len(cluster.worker_spec) < count:
        cluster.worker_spec.update(cluster.new_worker_spec())


@contextmanager
def open_local(slots: tuple[Slot, ...], gpus: tuple[str, ...] = ()) -> Iterator[LocalCluster]:
    """Open a cluster of single-threaded processes on this machine, without workers as yet; it closes with the body.

    With one worker per GPU and dask-cuda installed it is dask-cuda's, which also binds workers to near cores.
    """
    options = {
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "security": True,  # a certificate per run: otherwise every local account could run code here
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,  # limited per member (tasks/worker/watchdog.py), with a reason
        "silence_logs": "ERROR",
    }
    if 0 < len(slots) <= len(gpus) and importlib.util.find_spec("dask_cuda") is not None:
        from dask_cuda import LocalCUDACluster

        devices = [slot.environment[VISIBLE] for slot in slots]
        with LocalCUDACluster(devices, resources={RESOURCE: 1}, **options) as cluster:
            yield cluster
        return
    with dask.config.set({"distributed.worker.multiprocessing-method": START_METHOD}):
        get_mp_context()  # sets what is preloaded, once; ours comes after it
        start_forkserver()
        with SlotCluster(slots, **options) as cluster:
            yield cluster
