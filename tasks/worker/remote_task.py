"""Prefect tasks as Dask sends them: by name, with the context of their flow run as bytes.

Prefect's own client pickles the task and the function that runs it by value, and serializes and validates the context
of the flow run with all its settings again for every task: most of what submitting a task costs, and most of what
running an empty one does (Prefect 3.8.8).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast
from uuid import UUID

import cloudpickle
from prefect import State, Task
from prefect.context import SettingsContext, serialize_context
from prefect.task_engine import run_task_sync
from prefect.utilities.annotations import quote
from prefect.utilities.importtools import from_qualified_name, to_qualified_name

T = TypeVar("T")


def write_context() -> bytes:
    """Serialize the context of the current flow run, with its settings."""
    context = serialize_context()
    settings = cloudpickle.dumps(context.pop("settings_context"))
    return cast(bytes, cloudpickle.dumps((context, settings)))


def task_name(task: Task[Any, Any]) -> str:
    """Return the name by which a worker imports a task of a module."""
    return to_qualified_name(task.fn)


def run_task(
    name: str,
    tags: frozenset[str],
    task_run_id: UUID,
    parameters: Mapping[str, Any],
    dependencies: dict[str, set[Any]],
    context: bytes,
    wait_for: Any = None,
) -> State[Any]:
    """Run a task on this worker, and return its final state. Arguments may be states of tasks that it depends on."""
    return cast(
        "State[Any]",
        run_task_sync(
            _task(name, tags),
            task_run_id=task_run_id,
            parameters={key: untracked(value) for key, value in parameters.items()},
            wait_for=wait_for,
            return_type="state",
            dependencies=dependencies,
            context=_read(context),
        ),
    )


def untracked(value: T) -> T:
    """Keep Prefect from searching an argument for results of other tasks, unless it is such a result (a state)."""
    return value if isinstance(value, State) else cast(T, quote(value))


@lru_cache(maxsize=32)
def _task(name: str, tags: frozenset[str]) -> Task[Any, Any]:
    task: Task[Any, Any] = from_qualified_name(name)
    return task if task.tags == tags else task.with_options(tags=tags)


@lru_cache(maxsize=4)
def _read(context: bytes) -> dict[str, Any]:
    """Read a context, once per process and flow run."""
    rest, settings = cloudpickle.loads(context)
    return {**rest, "settings_context": _read_settings(settings)}


@lru_cache(maxsize=4)
def _read_settings(written: bytes) -> dict[str, Any]:
    """Validate settings, once per process; they seldom differ between flow runs."""
    read = SettingsContext(**cloudpickle.loads(written))
    return {"profile": read.profile, "settings": read.settings}
