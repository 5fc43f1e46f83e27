"""Apply an operation to several runs; a failure does not stop the others."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from flows.runs import open_ref, run_ids
from flows.settings import Failed, Settings
from tasks.logs.run_failures import log_failure
from tasks.logs.run_log import log_to_run
from tasks.runs import layout
from tasks.runs.ref import RunRef

R = TypeVar("R")


def select_runs(run_id: str, failed: list[str]) -> dict[str, RunRef]:
    """Return the given run, or every run of the store that has finished a generation.

    If all runs are selected, those that cannot be read are added to `failed`, with the reason.
    """
    if run_id:
        return {run_id: open_ref(run_id)}
    found: dict[str, RunRef] = {}
    for name in run_ids(Settings()):
        with _collect_error(name, failed):
            ref = open_ref(name)
            if (ref.open().last(layout.commit) or 0) < 1:
                log_to_run(f"{name}: has finished no generation yet")
            else:
                found[name] = ref
    return found


def apply_to_runs(steps: Mapping[str, Callable[[], R]], failed: list[str]) -> dict[str, R]:
    """Apply a step to every run; raise Failed that names those that failed, including those in `failed`.

    With a single run, its own error is raised.
    """
    if len(steps) == 1 and not failed:
        return {name: step() for name, step in steps.items()}
    done, failed = {}, [*failed]
    for name, step in steps.items():
        with _collect_error(name, failed):
            done[name] = step()
    if failed:
        raise Failed(f"{len(failed)} of {len(done) + len(failed)} runs failed: {'; '.join(failed)}")
    return done


@contextmanager
def _collect_error(name: str, failed: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # any error: continue with the other runs
        failed.append(f"{name}: {log_failure(error)}")
