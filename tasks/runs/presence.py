"""Detect whether a run is being worked on: a lock on run.json in local stores, the age of the last record in others.

The lock is the operating system's: it writes nothing, and is released when its process ends, for any reason.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tasks.runs import layout
from tasks.runs.run_store import RunStore
from tasks.store import MissingError
from tasks.store.file_backend import FileBackend

QUIET_S = 900.0
"""A run without a lock is considered inactive if it has written nothing for this long, or for twice as long as a phase
of a member took in its last generation, whichever is longer."""


@contextmanager
def hold_run(run: RunStore) -> Iterator[None]:
    """Hold the lock of a run while the body works on it; several processes may hold it."""
    handle = _open(run)
    try:
        if handle is not None:
            _lock(handle, wait=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def is_being_worked_on(run: RunStore) -> bool:
    """Return True if a process works on a run; in stores other than local ones, if one has written to it recently."""
    if not isinstance(run.store.backend, FileBackend):
        return quiet_s(run) < _patience_s(run)
    handle = _open(run)
    if handle is None:
        return False
    try:
        return not _lock(handle, wait=False)
    finally:
        os.close(handle)


def quiet_s(run: RunStore) -> float:
    """Return how long ago the newest record of a run was written, by the store's own clock."""
    names, head = [layout.RUN], run.head()
    if head is not None:
        elites = [elite for elite in (head.elite, head.best if head.front else None) if elite is not None]
        names += [layout.commit(head.generation), *map(layout.confirmation_of, elites)]
        for child in head.offspring:
            names += [phase(child.generation, child.index) for phase in (layout.training, layout.member)]
    ages = []
    for name in names:
        with suppress(MissingError):
            ages.append(run.store.age_s(run.key(name)))
    return min(ages, default=float("inf"))


def _patience_s(run: RunStore) -> float:
    last = run.last(layout.commit)
    timings = run.timings(last) if last else None
    known = [*timings.train.values(), *timings.evaluate.values()] if timings else []
    return max([QUIET_S, *(2 * (timing.end - timing.start).total_seconds() for timing in known)])


def _open(run: RunStore) -> int | None:
    """Open run.json of a local store; None for other stores, and if it does not exist."""
    backend = run.store.backend
    if sys.platform == "win32" or not isinstance(backend, FileBackend):
        return None
    with suppress(OSError):
        return os.open(backend.root / run.key(layout.RUN), os.O_RDONLY)
    return None


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock a file, shared with `wait`, else exclusively; return False if another process holds it.

    File systems without locks raise other errors: there, return True, because no process is known to work.
    """
    import fcntl  # not on Windows

    try:
        fcntl.flock(handle, fcntl.LOCK_SH if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
