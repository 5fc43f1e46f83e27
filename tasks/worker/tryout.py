"""Try an environment in a process like a worker's."""

import multiprocessing
import threading
from collections.abc import Collection
from multiprocessing.connection import Connection

from evo_core.config.run_config import RunConfig
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.determinism import RandomActions
from evo_core.envs.inspection import inspect_environment
from tasks.worker.worker_process import own_event_loop, prepare_process

STEPS = 10
TIMEOUT_S = 120.0


def try_in_worker(config: RunConfig, packages: Collection[str], *, in_thread: bool) -> str | None:
    """Create and step the training environments in a process like a worker's; return the error, None if it worked.

    `in_thread`: as in workers started by `dask worker`; those of a run's own cluster use their main thread.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_try, args=(theirs, config, tuple(packages), in_thread), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(TIMEOUT_S):
            return f"no answer within {TIMEOUT_S:g} s"
        said: str | None = ours.recv()
        return said
    except EOFError:
        process.join()
        return f"the process ended, exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()
        ours.close()


def _try(pipe: Connection, config: RunConfig, packages: tuple[str, ...], in_thread: bool) -> None:
    """Entry point of the new process."""
    prepare_process()
    arguments = (pipe, config, packages)
    if not in_thread:
        _play(*arguments)
        return
    thread = threading.Thread(target=_play, args=arguments)
    thread.start()
    thread.join()


def _play(pipe: Connection, config: RunConfig, packages: tuple[str, ...]) -> None:
    try:
        with own_event_loop():
            inspect_environment(config, packages)
            envs = make_vect_envs(config.env, range(config.env.num_envs))
            try:
                actions = RandomActions(envs)
                for _ in range(STEPS):
                    envs.step(actions.draw())
            finally:
                envs.close()
    except Exception as error:  # whatever the environment raises in such a process
        pipe.send(f"{type(error).__name__}: {error}")
    else:
        pipe.send(None)
