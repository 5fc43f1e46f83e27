"""Disable Dask's profiler, which can deadlock workers on Python 3.11.

It calls `sys._current_frames` a hundred times a second. In Python 3.11 that holds a lock of the interpreter while it
allocates, so that garbage may be collected, which may give way to another thread; one that begins or ends just then
waits for that lock with the interpreter in its hands (CPython issue 106883).
"""

import sys
import threading

from distributed import Worker

OFF = {"distributed.worker.profile.enabled": False}
"""Dask's settings for workers that a run starts itself."""

CALLBACKS = ("profile", "profile-cycle")
"""What a worker does by the clock for its profiler."""

PATIENCE_S = 5.0
"""How long a worker's event loop may take to do what it is asked to."""


def stop_profiler(worker: Worker) -> None:
    """End the profiler of the worker that runs this task, whoever started it, if it can lock up its Python."""
    if sys.version_info >= (3, 12) or CALLBACKS[0] not in worker.periodic_callbacks:
        return
    stopped = threading.Event()

    def stop() -> None:
        for name in CALLBACKS:
            if callback := worker.periodic_callbacks.pop(name, None):
                callback.stop()
        stopped.set()

    worker.loop.add_callback(stop)
    stopped.wait(PATIENCE_S)
