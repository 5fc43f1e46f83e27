"""The engine: Dask, opened once for a whole run, so that no generation waits for processes to start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from prefect_dask import DaskTaskRunner

from flows.settings import Settings
from tasks.members import PROGRESS_TOPIC

Progress = Callable[[str, int], None]
"""Called with a member's uid and the environment steps it has made in its generation."""

ATTEMPTS = 3
"""How many workers a member may lose before the flow looks at it alone."""


@contextmanager
def open_engine(settings: Settings, members: int, on_progress: Progress) -> Iterator[DaskTaskRunner]:
    """Open a local cluster, one single-threaded process per core, or connect to an existing scheduler.

    Yields a task runner that every generation can use. Processes that were started here end here.
    """
    if settings.engine != "local":
        with _listening(settings.engine, on_progress):
            yield DaskTaskRunner(address=settings.engine)
        return
    with (
        dask.config.set(
            {
                "distributed.worker.daemon": True,
                "distributed.admin.log-format": "%(message)s",
                "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
                # sys._current_frames, by which Dask's profiler looks at every thread, can lock up an interpreter
                # in which another thread begins or ends just then (seen with Python 3.11)
                "distributed.worker.profile.enabled": False,
            }
        ),
        LocalCluster(
            n_workers=settings.worker_count(members),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # watched per member (tasks/watchdog.py), which says why it ends its worker
            silence_logs="ERROR",
        ) as cluster,
        _listening(cluster.scheduler_address, on_progress),
    ):
        yield DaskTaskRunner(address=cluster.scheduler_address)


@contextmanager
def _listening(address: str, on_progress: Progress) -> Iterator[None]:
    """Pass on what workers say of their members."""
    with Client(address, set_as_default=False) as client:
        client.subscribe_topic(PROGRESS_TOPIC, lambda event: on_progress(event[1]["uid"], event[1]["steps"]))
        yield
