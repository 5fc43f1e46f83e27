"""The process context of environments in a worker: child processes end with the worker, and an event loop exists."""

import asyncio
import ctypes
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_REAPER = 'read _; kill -s KILL -- "-$1" 2>/dev/null'
"""Shell command that waits until the worker has ended, for any reason, then kills the rest of its process group."""

_PR_SET_PDEATHSIG = 1

_lock = threading.Lock()
_prepared: int | None = None
"""Id of the prepared process, because a fork is another process."""


def prepare_process() -> None:
    """Allow this worker process to have children, and make them end when it does; once per process.

    A process started by multiprocessing becomes the leader of a process group: the terminal's Ctrl-C does not reach it
    there, and its run ends it.
    """
    global _prepared
    with _lock:
        if _prepared == os.getpid():
            return
        _prepared = os.getpid()
    # workers are daemons so that their parent process ends them, but a daemon may not have children
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    config["daemon"] = False
    if sys.platform == "win32" or multiprocessing.parent_process() is None:
        return
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    watched, held = os.pipe()
    with open(watched, "rb") as beginning:
        command = ["/bin/sh", "-c", _REAPER, "reaper", str(os.getpid())]
        with suppress(OSError):  # a container without a shell: there, children of killed workers survive
            subprocess.Popen(
                command,
                stdin=beginning,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
    os.register_at_fork(after_in_child=lambda: _close(held))  # else a forked child would keep the reaper waiting


def set_death_signal(number: int) -> None:
    """Make Linux send this process a signal when the thread that started it ends; no effect elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


@contextmanager
def own_event_loop() -> Iterator[None]:
    """Give this thread an event loop that is not running, as the main thread of a script has one."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _close(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)
