"""Fork local workers from one process that has imported everything they need, instead of importing it in each.

It is multiprocessing's fork server. It computes nothing, so threads and CUDA start in the workers. On Linux only:
elsewhere, system libraries may not survive a fork, and every worker is a new process.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

from tasks.worker.worker_process import set_death_signal

START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"

PRELOADED = ["evolve_rl.worker_imports"]
"""Modules that the fork server imports: one that makes sure that our packages are imported, not the user's."""

READ_AT_START = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "6640",
}
"""Environment variables that Dask sets for workers, unless they are set, and that Python and libraries read only when
they are loaded."""


def start_forkserver() -> None:
    """Start the fork server of this process, unless it is running; return at once, while it imports.

    Workers get this process's environment as it is when they start (see become_worker).
    """
    if START_METHOD != "forkserver":
        return
    multiprocessing.set_forkserver_preload(PRELOADED)
    # A terminal sends Ctrl-C to all processes, and the fork server ignores it only after its imports. With a safe path,
    # nothing is imported from the working directory.
    environment = {**READ_AT_START, **os.environ, "PYTHONSAFEPATH": "1"}
    with _replaced_environment(environment), _blocked(signal.SIGINT):
        forkserver.ensure_running()


def become_worker(environment: Mapping[str, str]) -> None:
    """Give this process, which was just forked, its own environment, random numbers, and children."""
    import numpy as np
    from prefect.context import refresh_global_settings_context

    set_death_signal(signal.SIGKILL)  # of the fork server, which ends with the run
    os.environ.clear()
    os.environ.update(environment)
    refresh_global_settings_context()
    np.random.seed()  # noqa: NPY002  # for environments that use it; Python's own generator does so after a fork
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        # a worker that held this pipe would keep the fork server alive after the run; and what an environment forks
        # from a server ends with the worker only if it is a server of the worker's
        os.close(server._forkserver_alive_fd)
        server.__init__()


@contextmanager
def _replaced_environment(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        for name in environment.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
