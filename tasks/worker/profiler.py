"""Disable Dask's profiler, which can deadlock workers on Python 3.11.

It calls `sys._current_frames` a hundred times a second. In Python 3.11 that allocates while it holds a lock of the
interpreter, so garbage collection may run and release the GIL; a thread that starts or ends just then waits for that
lock while it holds the GIL (CPython issue 106883).
"""

import sys
import threading

from distributed import Worker

OFF = {"distributed.worker.profile.enabled": False}
"""Dask settings for workers that a run starts itself."""

CALLBACKS = ("profile", "profile-cycle")
"""Names of the profiler's periodic callbacks in a worker."""

PATIENCE_S = 5.0
"""Timeout for a worker's event loop to stop the callbacks."""


def stop_profiler(worker: Worker) -> None:
    """Stop the profiler of the worker that runs this task, however it was started, if it can deadlock this Python."""
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
