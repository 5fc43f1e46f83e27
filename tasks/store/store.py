"""The store: keys that are created once and never change, on a backend that may fail at any time.

A backend makes one attempt; everything that must hold on every backend (tries, deadlines, verification, adoption of
what exists) is here, once.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

import tenacity

from evo_core.records.canonical import sha256
from tasks.store.errors import (
    ConflictError,
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    UnavailableError,
    UnsafeError,
)

T = TypeVar("T")

PATIENCE_S = 150.0
"""Longest time that one object may take, all tries included: outages of a minute heal."""

ATTEMPT_S = 30.0
"""Longest time of one try."""

PAUSE_S = 0.2
"""First pause between tries, at most; each next one may be twice as long, up to 5 s."""

TRIES = 3
"""How often a refusal, or content that is damaged or missing, is tried before it is believed."""

PROBE_KEY = ".evolve-probe"

log = logging.getLogger(__name__)


class Backend(Protocol):
    """One attempt at each operation, on whatever keeps the bytes. Keys are relative paths with forward slashes."""

    url: str

    def prepare(self, place: str) -> None:
        """Make room for the keys of a place, which is the first part of a key, or empty for keys of one part."""
        ...

    def create(self, key: str, content: bytes) -> None:
        """Create a key, whole or not at all; ExistsError when it exists, whatever its content.

        MissingError when its place is missing: only `prepare` makes one, so that a store that is gone stays gone.
        """
        ...

    def read(self, key: str) -> bytes:
        """Read a key; MissingError when it does not exist."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether a key exists."""
        ...

    def children(self, prefix: str) -> list[str]:
        """List the names directly below a prefix, sorted; may lag behind."""
        ...

    def modified(self, key: str) -> datetime:
        """Tell when a key was last written, by the backend's own clock; MissingError when it does not exist."""
        ...

    def now(self) -> datetime:
        """Read the backend's own clock."""
        ...

    def overwrite(self, key: str, content: bytes) -> None:
        """Write a key, whole or not at all, whatever it held."""
        ...

    def delete(self, key: str) -> None:
        """Delete a key; one that does not exist is no error."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix, however deep, remains of interrupted writes included; may lag behind."""
        ...

    def prune(self, prefix: str) -> None:
        """Remove the empty directories of a prefix, where a backend has directories."""
        ...


class Store:
    """Bytes by key. Every operation is tried again while the backend is unavailable, for at most `patience_s`."""

    def __init__(self, backend: Backend, patience_s: float = PATIENCE_S) -> None:
        self.backend, self.url, self._patience_s = backend, backend.url, patience_s

    def prepare(self, place: str) -> None:
        """Make room for the keys of a place (a run id), or of the store itself (""). Only when a run begins."""
        self._persist(lambda: self.backend.prepare(place))

    def create(self, key: str, content: bytes) -> bool:
        """Create a key, whole or not at all; tell whether this call did, or found it there.

        A key that exists with the same content is adopted, which also heals a create whose reply was lost.
        ConflictError when its content differs.
        """
        return self._persist(
            lambda: self._create(key, content), (MissingError,)
        )  # a bucket may be missing for a moment

    def read(self, key: str, parse: Callable[[bytes], T], *, expected: bool = False) -> T:
        """Read a key and parse its content; MissingError when it does not exist.

        A CorruptError of `parse`, and with `expected` a missing key, is believed after TRIES tries.
        """
        doubted = (CorruptError, MissingError) if expected else (CorruptError,)
        return self._persist(lambda: parse(self.backend.read(key)), doubted)

    def exists(self, key: str, *, expected: bool = False) -> bool:
        """Tell whether a key exists; that an `expected` one does not is believed after TRIES tries."""
        return any(self._persist(lambda: self.backend.exists(key)) for _ in range(TRIES if expected else 1))

    def children(self, prefix: str = "") -> list[str]:
        """List the names directly below a prefix, sorted. May lag behind on S3: never decide by it."""
        return self._persist(lambda: self.backend.children(prefix))

    def age_s(self, key: str) -> float:
        """Tell how long ago a key was written, by the store's own clock; MissingError when it does not exist."""
        return self._persist(lambda: (self.backend.now() - self.backend.modified(key)).total_seconds())

    def replace(self, key: str, content: bytes) -> None:
        """Put content in place of what a key holds. Only for repairs, whose content is known by its hash."""
        self._persist(lambda: self.backend.overwrite(key, content))

    def delete(self, key: str) -> None:
        """Delete a key; one that does not exist is no error."""
        self._persist(lambda: self.backend.delete(key))

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix, however deep. May lag behind on S3."""
        return self._persist(lambda: self.backend.keys(prefix))

    def prune(self, prefix: str) -> None:
        """Remove the empty directories of a prefix, where a backend has directories."""
        self._persist(lambda: self.backend.prune(prefix))

    def probe(self) -> None:
        """Create one key twice: UnsafeError for a store that allows it. Leaves a small object of constant content."""
        self.create(PROBE_KEY, b"evolve\n")
        try:
            self.create(PROBE_KEY, b"another writer\n")
        except ConflictError:
            return
        raise UnsafeError(
            f"{self.url}: the store let one key be created twice (it ignores If-None-Match), so two writers could both "
            "commit a generation; use AWS S3, SeaweedFS, a recent MinIO or Ceph, or a file:// store"
        )

    def _create(self, key: str, content: bytes) -> bool:
        try:
            self.backend.create(key, content)
        except ExistsError:
            self._adopt(key, content)
            return False
        return True

    def _adopt(self, key: str, content: bytes) -> None:
        """Accept that a key exists if its content is the given one; other content must be read twice alike."""
        seen: bytes | None = None
        for _ in range(TRIES):
            try:
                existing = self.backend.read(key)
            except MissingError as error:
                raise UnavailableError(f"{key} cannot be created, yet is missing: {error}") from error
            if existing == content:
                return
            if existing == seen:
                break
            seen = existing
        raise ConflictError(key, sha256(existing), sha256(content))

    def _persist(self, attempt: Callable[[], T], doubted: tuple[type[StoreError], ...] = ()) -> T:
        """Make an attempt until it succeeds, the patience ends, or what went wrong is believed."""
        began, doubts = time.monotonic(), 0

        def again(error: BaseException) -> bool:
            nonlocal doubts
            doubtful = isinstance(error, (DeniedError, *doubted))
            doubts += doubtful
            return isinstance(error, UnavailableError) or (doubtful and doubts < TRIES)

        def warn(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if state.attempt_number == 1 and isinstance(error, UnavailableError):
                log.warning("trying again for up to %.0f s: %s", self._patience_s, error)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(again),
            wait=tenacity.wait_random_exponential(multiplier=PAUSE_S, max=5),
            stop=lambda state: time.monotonic() - began > max(0.0, self._patience_s - ATTEMPT_S),
            before_sleep=warn,
            reraise=True,
        )
        return retrying(attempt)
