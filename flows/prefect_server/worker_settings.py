"""Send Prefect's settings to the workers as a file that is validated once.

Prefect sends all its settings with every task, and every task validates them anew from environment, files and defaults:
more than half of what submitting a task costs, and three quarters of what running an empty one does (Prefect 3.8.8).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cloudpickle
from prefect.context import SettingsContext
from pydantic import PrivateAttr


class _SettingsKeywords(Mapping[str, Any]):
    """Keywords of a SettingsContext that are pickled as the bytes `written`; equal bytes give the same object per
    process. They hold a profile and settings that are already validated. Not a dict, because Dask traverses dicts.
    """

    def __init__(self, context: SettingsContext, written: bytes) -> None:
        self._keywords, self._written = {"profile": context.profile, "settings": context.settings}, written

    def __getitem__(self, name: str) -> Any:
        return self._keywords[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keywords)

    def __len__(self) -> int:
        return len(self._keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (self._written,)

    def __dask_tokenize__(self) -> bytes:
        return self._written


@lru_cache(maxsize=4)
def _read(written: bytes) -> _SettingsKeywords:
    return _SettingsKeywords(SettingsContext(**cloudpickle.loads(written)), written)


class _KeptContext(SettingsContext):
    """The settings of a flow, which do not change while it runs."""

    _kept: _SettingsKeywords | None = PrivateAttr(None)

    def serialize(self, include_secrets: bool = True) -> Any:
        """Return the data from which a worker restores its settings context."""
        if not include_secrets:
            return super().serialize(include_secrets=False)
        if self._kept is None:
            self._kept = _SettingsKeywords(self, cloudpickle.dumps(super().serialize()))
        return self._kept


@contextmanager
def kept_settings() -> Iterator[None]:
    """Serialize the current settings once, for all tasks that the body submits."""
    context = SettingsContext.get()
    assert context is not None  # there are always some
    with _KeptContext(profile=context.profile, settings=context.settings):
        yield
