"""Sealed records of a run: verified on every read, and written only while the run is in place."""

import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

from pydantic import ValidationError

from evo_core.genome.architecture import Record
from evo_core.records.chain import FailureDetail, record_hash
from evo_core.records.sealed import Sealed
from tasks.runs import layout
from tasks.runs.run_records import sealed_bytes
from tasks.store import ConflictError, CorruptError, GoneError, MissingError, Store

RecordT = TypeVar("RecordT", bound=Record)
RUN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
CONNECTIONS = 8
"""Number of concurrent requests to the store."""

RECHECK_S = 15.0
"""Time for which a process assumes that a run still exists in its bucket, because every check is a request."""

_last_seen: dict[tuple[str, str], float] = {}
"""Time at which this process last saw run.json, by store URL and run id, on its monotonic clock."""


class RecordStore:
    """The records below one run id, of any kind. RunStore defines the kinds."""

    def __init__(self, store: Store, run_id: str, numerics: Callable[[], dict[str, str]] = dict) -> None:
        if not RUN_ID.fullmatch(run_id):
            raise ValueError(
                f"run id {run_id!r}: expected 1 to 63 lower-case letters, digits, - and _, beginning with a letter or "
                "digit"
            )
        self.store, self.run_id, self._numerics = store, run_id, numerics
        self._beginning = False

    @cached_property
    def numerics(self) -> dict[str, str]:
        """The numerical environment of this process, stored beside records; found only when one is written."""
        return self._numerics()

    def prepare(self) -> None:
        """Prepare the run's place in the store. From here until `create_run`, keys are created without run.json."""
        self.store.prepare(self.run_id)
        self._beginning = True

    def require_in_place(self, *, allow_cached: bool = False) -> None:
        """Raise GoneError unless run.json is where the run was created.

        With `allow_cached`, it is not read again on S3 if this process read it less than RECHECK_S ago.
        """
        place = self.store.url, self.run_id
        remote = self.store.url.startswith("s3:")
        if allow_cached and remote and time.monotonic() - _last_seen.get(place, -math.inf) < RECHECK_S:
            return
        try:
            self.store.read(self.key(layout.RUN), bytes, expected=True)
        except MissingError:
            _last_seen.pop(place, None)
            raise self._gone(f"no longer holds {self.key(layout.RUN)}") from None
        _last_seen[place] = time.monotonic()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Raise GoneError instead of a MissingError of the body if the whole run is missing."""
        try:
            yield
        except MissingError:
            self.require_in_place()
            raise

    def key(self, name: str) -> str:
        """Return the full key of one of this run's objects in its store."""
        return f"{self.run_id}/{name}"

    def exists(self, name: str) -> bool:
        """Return True if a key of this run exists."""
        return self.store.exists(self.key(name))

    def put(self, name: str, record: Record, detail: FailureDetail | None = None) -> None:
        """Seal a record and create it; adopt an existing one if only its numerics or failure detail differ."""
        try:
            self._create(name, sealed_bytes(record, self.numerics, detail))
        except ConflictError:
            if self.get(name, type(record)) != record:
                raise

    def find(self, name: str, kind: type[RecordT]) -> RecordT | None:
        """Read a record; None if it does not exist."""
        try:
            return self.sealed(name, kind, expected=False).record
        except MissingError:
            return None

    def get(self, name: str, kind: type[RecordT]) -> RecordT:
        """Read a record; CorruptError if it is invalid or does not match its hash."""
        return self.sealed(name, kind).record

    def holds(self, name: str, record: Record, numerics: dict[str, str]) -> bool:
        """Return True if a key holds exactly this record with these numerics; MissingError if it does not exist.

        Takes a third of the time of reading and comparing it.
        """
        expected = sealed_bytes(record, numerics)
        return self.store.read(self.key(name), lambda content: content == expected, expected=True)

    def sealed(self, name: str, kind: type[RecordT], *, expected: bool = True) -> Sealed[RecordT]:
        """Read a record with its seal; see `get`. An `expected` one is reported missing only after several attempts."""

        def verify(content: bytes) -> Sealed[RecordT]:
            try:
                sealed: Sealed[RecordT] = Sealed[kind].model_validate_json(content)  # type: ignore[valid-type]
            except ValidationError as error:
                raise CorruptError(
                    f"{self.key(name)}: not a record of this program: {error.errors()[0]['msg']}; {self._advice(name)}"
                ) from error
            if content != sealed_bytes(sealed.record, sealed.numerics, sealed.detail):
                raise CorruptError(
                    f"{self.key(name)}: its content has the hash {record_hash(sealed.record)}, but it says "
                    f"{sealed.sha256}, or its seal is broken; the record is damaged: {self._advice(name)}"
                )
            return sealed

        return self.store.read(self.key(name), verify, expected=expected)

    def _create(self, name: str, content: bytes) -> bool:
        """Create a key of a run that is in place, or that is being created."""
        if not self._beginning:
            self.require_in_place(allow_cached=True)
        try:
            return self.store.create(self.key(name), content)
        except MissingError as error:
            self.require_in_place()
            raise self._gone(f"has no place for {self.key(name)}") from error

    def _gone(self, what: str) -> GoneError:
        return GoneError(
            f"the store is gone: {self.store.url} {what}. Was it moved, unmounted, deleted or replaced? Nothing was "
            f"created in its place; restore it, then `evolve resume {self.run_id}`"
        )

    def _advice(self, name: str) -> str:
        if name.startswith((layout.RUN, "extend/", "gc/")):
            return "its content cannot be recomputed from the store, restore it from a copy"
        return f"`evolve verify {self.run_id} --repair` may restore it"

    def _series(self, name: Callable[[int], str], kind: type[RecordT]) -> Iterator[RecordT]:
        for sealed in self._sealed_series(name, kind):
            yield sealed.record

    def _sealed_series(self, name: Callable[[int], str], kind: type[RecordT]) -> Iterator[Sealed[RecordT]]:
        """Read a series without gaps; its end is never decided by a single request."""
        last = self.last(name)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from pool.map(lambda number: self.sealed(name(number), kind), range(0 if last is None else last + 1))

    def last(self, name: Callable[[int], str]) -> int | None:
        """Return the last number of a series without gaps with few requests: doubling, then bisection.

        That there is none after the last is checked more than once.
        """
        low = -1
        while self.store.exists(self.key(name(low + 1)), expected=True):
            low, step = low + 1, 1
            while self.exists(name(low + step)):
                low, step = low + step, 2 * step
            high = low + step
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self.exists(name(middle)) else (low, middle)
        return None if low < 0 else low
