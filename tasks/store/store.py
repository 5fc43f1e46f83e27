"""The store: keys that are created once and never change, on a backend that may fail at any time.

A backend makes one attempt; everything common to all backends (retries, deadlines, verification, adoption of existing
keys) is implemented here, once.
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
"""Timeout of an operation on one object, all retries included: enough to survive outages of a minute."""

ATTEMPT_S = 30.0
"""Timeout of one attempt."""

PAUSE_S = 0.2
"""Maximum of the first pause between attempts; it doubles with every attempt, up to 5 s."""

TRIES = 3
"""Number of attempts before a refusal, or damaged or missing content, is accepted as real."""

PROBE_KEY = ".evolve-probe"

log = logging.getLogger(__name__)


class Backend(Protocol):
    """One attempt at each operation, on whatever keeps the bytes. Keys are relative paths with forward slashes."""

    url: str

    def prepare(self, place: str) -> None:
        """Prepare for keys of a place, which is the first part of a key, or empty for keys of one part."""
        ...

    def create(self, key: str, content: bytes) -> None:
        """Create a key atomically; ExistsError if it exists, regardless of its content.

        MissingError if its place is missing: only `prepare` creates one, so that a store that is gone stays gone.
        """
        ...

    def read(self, key: str) -> bytes:
        """Read a key; MissingError if it does not exist."""
        ...

    def exists(self, key: str) -> bool:
        """Return True if a key exists."""
        ...

    def children(self, prefix: str) -> list[str]:
        """List the names directly below a prefix, sorted; may be stale."""
        ...

    def modified(self, key: str) -> datetime:
        """Return when a key was last written, by the backend's own clock; MissingError if it does not exist."""
        ...

    def now(self) -> datetime:
        """Return the time of the backend's own clock."""
        ...

    def overwrite(self, key: str, content: bytes) -> None:
        """Write a key atomically, replacing any content."""
        ...

    def delete(self, key: str) -> None:
        """Delete a key; a missing one is not an error."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix, recursively, including leftovers of interrupted writes; may be stale."""
        ...

    def prune(self, prefix: str) -> None:
        """Remove the empty directories of a prefix, where a backend has directories."""
        ...


class Store:
    """Bytes by key. Every operation is retried while the backend is unavailable, for at most `patience_s`."""

    def __init__(self, backend: Backend, patience_s: float = PATIENCE_S) -> None:
        self.backend, self.url, self._patience_s = backend, backend.url, patience_s

    def prepare(self, place: str) -> None:
        """Prepare for keys of a place (a run id), or of the store itself (""). Only when a run is created."""
        self._persist(lambda: self.backend.prepare(place))

    def create(self, key: str, content: bytes) -> bool:
        """Create a key atomically; return True if this call created it, False if it existed.

        An existing key with the same content is adopted, which also covers a create whose response was lost.
        ConflictError if its content differs.
        """
        return self._persist(
            lambda: self._create(key, content), (MissingError,)
        )  # a bucket may be missing for a moment

    def read(self, key: str, parse: Callable[[bytes], T], *, expected: bool = False) -> T:
        """Read a key and parse its content; MissingError if it does not exist.

        A CorruptError from `parse`, and with `expected` a missing key, is raised only after TRIES attempts.
        """
        doubted = (CorruptError, MissingError) if expected else (CorruptError,)
        return self._persist(lambda: parse(self.backend.read(key)), doubted)

    def exists(self, key: str, *, expected: bool = False) -> bool:
        """Return True if a key exists; an `expected` one is reported missing only after TRIES attempts."""
        return any(self._persist(lambda: self.backend.exists(key)) for _ in range(TRIES if expected else 1))

    def children(self, prefix: str = "") -> list[str]:
        """List the names directly below a prefix, sorted. May be stale on S3: never base decisions on it."""
        return self._persist(lambda: self.backend.children(prefix))

    def age_s(self, key: str) -> float:
        """Return how long ago a key was written, by the store's own clock; MissingError if it does not exist."""
        return self._persist(lambda: (self.backend.now() - self.backend.modified(key)).total_seconds())

    def replace(self, key: str, content: bytes) -> None:
        """Replace the content of a key. Only for repairs, whose content is verified by its hash."""
        self._persist(lambda: self.backend.overwrite(key, content))

    def delete(self, key: str) -> None:
        """Delete a key; a missing one is not an error."""
        self._persist(lambda: self.backend.delete(key))

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix, recursively. May be stale on S3."""
        return self._persist(lambda: self.backend.keys(prefix))

    def prune(self, prefix: str) -> None:
        """Remove the empty directories of a prefix, where a backend has directories."""
        self._persist(lambda: self.backend.prune(prefix))

    def probe(self) -> None:
        """Create one key twice; UnsafeError if the store allows it. Leaves a small object of constant content."""
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
        """Accept an existing key if its content is the given one; a conflict requires two reads with equal content."""
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
        """Retry an attempt until it succeeds, the timeout expires, or its error is accepted as real."""
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
