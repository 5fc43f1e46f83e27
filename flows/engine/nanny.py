"""Dask workers that run tasks in their main thread, where Python code may set signal handlers.

Dask runs them in threads, and its event loop in the main one; here it is the other way round.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from distributed import Nanny, Status
from distributed.nanny import WorkerProcess
from prefect.context import SyncClientContext
from prefect.settings import get_current_settings

from flows.engine.forkserver import become_worker
from tasks.logs.lost_connections import silence_lost_connections
from tasks.worker.worker_process import prepare_process

END_S = 1.0
"""Time that a process whose worker has closed waits for a running task."""

_Work = tuple[Future[Any], Callable[[], Any]]

_works: "queue.SimpleQueue[_Work | None]" = queue.SimpleQueue()


class MainThreadPoolExecutor(Executor):
    """Executor whose tasks `run_tasks` runs one after the other. Dask recognizes thread pools by this part of the class
    name."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue one call."""
        future: Future[Any] = Future()
        _works.put((future, lambda: function(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the main thread continues until its worker has closed."""


class MainThreadNanny(Nanny):
    """A nanny whose worker runs tasks in the main thread of its process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, executor=MainThreadPoolExecutor(), **options)

    @property
    def process(self) -> "MainThreadProcess | None":
        """The worker's process."""
        process: MainThreadProcess | None = self._process
        return process

    @process.setter
    def process(self, made: WorkerProcess | None) -> None:
        """Replace the process created by Nanny with a MainThreadProcess."""
        if made is not None:
            made.__class__ = MainThreadProcess
        self._process: Any = made


class MainThreadProcess(WorkerProcess):
    """A worker's process that runs Dask in a thread and tasks in the main thread."""

    async def start(self) -> Status:
        """Start the process with the environment variables of this one, as they are now, and those of its slot."""
        self.env = {**os.environ, **self.env}
        return await super().start()

    @classmethod
    def _run(cls, **options: Any) -> None:  # type: ignore[override]  # Nanny passes everything by name
        """Run in the process itself."""
        become_worker(options["env"])
        prepare_process()
        silence_lost_connections()
        idle, dask = threading.Event(), super()._run

        def run_dask() -> None:
            try:
                with one_prefect_client():
                    dask(**options)
            finally:
                _works.put(None)
                if not idle.wait(END_S):  # a cancelled task
                    os._exit(0)

        threading.Thread(target=run_dask, name="Dask").start()
        run_tasks()
        idle.set()


@contextmanager
def one_prefect_client() -> Iterator[None]:
    """Let all tasks of this process, which inherit this thread's context, use one client of the Prefect API.

    Otherwise Prefect creates two for each task and reads certificates for both, which is most of the cost of a task.
    """
    if not get_current_settings().api.url:
        yield
        return
    with SyncClientContext.get_or_create():
        yield


def run_tasks() -> None:
    """Run what is submitted in this thread, until the worker has closed."""
    while (work := _works.get()) is not None:
        future, call = work
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(call())
        except BaseException as error:  # as in thread pools: the waiting caller gets it
            future.set_exception(error)
        del work, future, call  # which hold what the task returned
