"""Dask workers that run tasks in their main thread, where Python code may set signal handlers.

Dask runs them in threads, and its event loop in the main one; here it is the other way round.
"""

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from distributed import Nanny
from distributed.nanny import WorkerProcess

from tasks.logs.lost_connections import silence_lost_connections
from tasks.worker.worker_process import prepare_process

END_S = 1.0
"""How long a process whose worker has closed waits for a task that still runs."""

_Work = tuple[Future[Any], Callable[[], Any]]

_works: "queue.SimpleQueue[_Work | None]" = queue.SimpleQueue()


class MainThreadPoolExecutor(Executor):
    """Has tasks run by `run_tasks`, one after the other. Dask knows executors of threads by this part of its name."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue one call."""
        future: Future[Any] = Future()
        _works.put((future, lambda: function(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the main thread goes on until its worker has closed."""


class MainThreadNanny(Nanny):
    """A nanny whose worker runs tasks in the main thread of its process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, executor=MainThreadPoolExecutor(), **options)

    @property
    def process(self) -> "MainThreadProcess | None":
        """The worker's process, which Nanny makes and which becomes one of ours."""
        process: MainThreadProcess | None = self._process
        return process

    @process.setter
    def process(self, made: WorkerProcess | None) -> None:
        """Keep the process that Nanny has made, as one of ours."""
        if made is not None:
            made.__class__ = MainThreadProcess
        self._process: Any = made


class MainThreadProcess(WorkerProcess):
    """A worker's process: Dask in a thread, tasks in the main one."""

    @classmethod
    def _run(cls, **options: Any) -> None:  # type: ignore[override]  # Nanny passes everything by name
        """Run in the process itself."""
        prepare_process()
        silence_lost_connections()
        idle, dask = threading.Event(), super()._run

        def run_dask() -> None:
            try:
                dask(**options)
            finally:
                _works.put(None)
                if not idle.wait(END_S):  # a task that nobody waits for any more
                    os._exit(0)

        threading.Thread(target=run_dask, name="Dask").start()
        run_tasks()
        idle.set()


def run_tasks() -> None:
    """Run what is submitted in this thread, until the worker has closed."""
    while (work := _works.get()) is not None:
        future, call = work
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(call())
        except BaseException as error:  # as executors of threads do: whoever waits gets it
            future.set_exception(error)
        del work, future, call  # which hold what the task returned
