"""Disable Prefect's stored results: none is written and none is ever loaded.

Answers of the API are untrusted input. Prefect's engine loads the result of a flow run from the path or block that the
state returned by the API names, with the serializer that it names, which may be pickle. So anyone who can set the state
of a subflow could run code in the flow's process. Records of members and generations are read from
the store instead, which checks them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import prefect.results
import prefect.serializers
from prefect.results import ResultStore
from prefect.serializers import CompressedSerializer, JSONSerializer, PickleSerializer


class StoredResultRefused(RuntimeError):
    """Raised for a state from the API that refers to a stored result."""

    def __init__(self) -> None:
        super().__init__(
            "Prefect's API says that a part of this run has ended already and names a stored result, but evolve stores "
            "none with Prefect: expected a part that runs here, got a state that another client set. Nothing was "
            "loaded. Find out who may call the Prefect API; then continue with `evolve resume` or the deployment resume"
        )


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise StoredResultRefused


async def _refuse_async(*args: object, **kwargs: object) -> NoReturn:
    raise StoredResultRefused


def _unchecked(value: str) -> str:
    """Accept a module's name in a state without importing it, which Prefect would do to validate it."""
    return value


_REPLACED: tuple[tuple[Any, str, object], ...] = (
    (ResultStore, "_from_metadata", _refuse_async),
    (ResultStore, "_read", _refuse),
    (ResultStore, "_aread", _refuse_async),
    (prefect.results, "resolve_result_storage", _refuse),
    *((serializer, "loads", _refuse) for serializer in (PickleSerializer, JSONSerializer, CompressedSerializer)),
    *((prefect.serializers, name, _unchecked) for name in ("validate_picklelib", "validate_compressionlib")),
)
"""Functions of Prefect 3.8 that load a result or import a module named by a state from the API."""


@contextmanager
def no_stored_results() -> Iterator[None]:
    """Refuse to load results stored by Prefect during the body; raise StoredResultRefused instead."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in _REPLACED]
    refuse_stored_results()
    try:
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def refuse_stored_results() -> None:
    """Refuse to load results stored by Prefect from now on, in a process that runs only our flows."""
    for owner, name, replacement in _REPLACED:
        setattr(owner, name, replacement)
