"""Limits of a member's phase (deadline, memory), enforced by ending the worker process.

Ending the process is the only remedy for code that hangs or exhausts memory; Dask's nanny starts a new worker, and the
scheduler retries the member with the same seed.
"""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psutil
import torch
from dask.typing import Key
from distributed import Worker, get_worker

from tasks.worker.limits import Limits
from tasks.worker.profiler import stop_profiler
from tasks.worker.worker_process import own_event_loop, prepare_process

logger = logging.getLogger(__name__)

Reason = Literal["deadline", "memory"]

INTERVAL_S = 0.25
UNWANTED = 8
"""Consecutive checks in which a task must be cancelled, because Dask may revert a cancellation at once."""

EXIT_TIMEOUT_S = 1.0
"""Time for the reason to be sent before the process ends."""

GRACE_S = 10.0
"""Time after the deadline at which a process ends if foreign code holds the GIL."""


def ended_topic(session: str) -> str:
    """Return the Dask event topic on which workers of one attempt at a generation report why they end themselves."""
    return f"evolve-ended-{session}"


@contextmanager
def watched(limits: Limits, session: str, uid: str) -> Iterator[None]:
    """End this worker process if the body exceeds a limit, its run is gone, or its parent process is gone.

    A no-op outside a Dask worker. Stops the worker's profiler first, before there is another thread.
    """
    try:
        worker = get_worker()
    except ValueError:
        yield
        return
    stop_profiler(worker)
    prepare_process()
    stop = threading.Event()
    key = worker.active_threads.get(threading.get_ident())
    watcher = threading.Thread(target=_watch, args=(worker, key, limits, session, uid, stop), daemon=True)
    watcher.start()
    if limits.deadline_s is not None:  # works without the GIL, which hanging foreign code may never release
        faulthandler.dump_traceback_later(limits.deadline_s + EXIT_TIMEOUT_S + GRACE_S, exit=True, file=2)
    try:
        with own_event_loop():
            yield
    except MemoryError:
        _end(worker, session, uid, "memory")
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        from tasks.logs.run_log import send_log  # imports Prefect: too slow for settings (Limits)

        # another process on the GPU may have exhausted its memory or broken it; without one, the member itself did
        logger.warning("%s: the GPU failed, another worker tries again: %s", uid, error)
        send_log()
        os._exit(1)
    finally:
        faulthandler.cancel_dump_traceback_later()
        stop.set()
        watcher.join()


def _watch(worker: Worker, key: Key | None, limits: Limits, session: str, uid: str, stop: threading.Event) -> None:
    began, parent, process = time.monotonic(), os.getppid(), psutil.Process()
    unwanted = 0
    while not stop.wait(INTERVAL_S):
        unwanted = unwanted + 1 if _is_unwanted(worker, key) else 0
        if unwanted > UNWANTED:
            os._exit(1)
        if os.getppid() != parent:
            os._exit(1)
        if limits.memory is not None and process.memory_info().rss > limits.memory:
            _end(worker, session, uid, "memory")
        if limits.deadline_s is not None and time.monotonic() - began > limits.deadline_s:
            _end(worker, session, uid, "deadline")


def _is_unwanted(worker: Worker, key: Key | None) -> bool:
    """Return True if no client waits for a task's result anymore: its run was cancelled, or died."""
    task = worker.state.tasks.get(key) if key is not None else None
    return task is not None and task.state == "cancelled"


def _end(worker: Worker, session: str, uid: str, reason: Reason) -> None:
    """Report the reason, then end the process, whatever it is doing."""
    worker.log_event(ended_topic(session), {"uid": uid, "reason": reason})
    time.sleep(EXIT_TIMEOUT_S)
    os._exit(1)
