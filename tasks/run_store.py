"""One run in a store: its layout, and records that are verified whenever they are read."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from evo_core.architecture import Record
from evo_core.canonical import canonical_json, sha256
from evo_core.config import RunConfig
from evo_core.records import (
    SCHEMA,
    BlobRef,
    Confirmation,
    Generation,
    Member,
    Sealed,
    Training,
    record_hash,
    seal,
)
from tasks.store import ConflictError, CorruptError, MissingError, Store

RecordT = TypeVar("RecordT", bound=Record)
RUN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class RunFile(Record):
    """run.json: what the run computes, and where it forked from."""

    schema_version: int = SCHEMA
    config: RunConfig
    forked_from: str | None = None


class Timing(Record):
    """When and where a phase of a member ran. For views; never hashed."""

    start: datetime
    end: datetime
    host: str
    process: int
    attempt: int = 1


class RunStore:
    """The keys below one run id. Every key is created once; reading verifies hashes."""

    def __init__(self, store: Store, run_id: str, numerics: dict[str, str] | None = None) -> None:
        if not RUN_ID.fullmatch(run_id):
            raise ValueError(
                f"run id {run_id!r}: expected 1 to 63 lower-case letters, digits, - and _, beginning with a letter or "
                "digit"
            )
        self.store, self.run_id, self._numerics = store, run_id, numerics or {}

    def create_run(self, config: RunConfig) -> None:
        """Write run.json."""
        self._put("run.json", RunFile(config=config))

    def config(self) -> RunConfig:
        """Read the run's configuration; MissingError when there is no such run."""
        run = self._get("run.json", RunFile)
        return run.config

    def put_blob(self, content: bytes) -> BlobRef:
        """Store a checkpoint under its hash."""
        reference = BlobRef(sha256=sha256(content), size=len(content))
        self.store.create(self._key(f"blobs/{reference.sha256}.safetensors"), content)
        return reference

    def blob(self, reference: BlobRef) -> bytes:
        """Read a checkpoint; CorruptError when it is not what its reference says."""
        key = self._key(f"blobs/{reference.sha256}.safetensors")
        content = self.store.read(key)
        if len(content) != reference.size or sha256(content) != reference.sha256:
            raise CorruptError(
                f"{key}: expected {reference.size} bytes with sha256 {reference.sha256}, got {len(content)} bytes "
                f"with {sha256(content)}; the checkpoint is damaged: restore it from a copy"
            )
        return content

    def put_training(self, generation: int, index: int, record: Training) -> None:
        """Write what training made of a member."""
        self._put(f"{_member(generation, index)}.train.json", record)

    def training(self, generation: int, index: int) -> Training | None:
        """Read what training made of a member; None when it was not trained yet."""
        return self._find(f"{_member(generation, index)}.train.json", Training)

    def put_member(self, generation: int, index: int, record: Member) -> None:
        """Write a whole member."""
        self._put(f"{_member(generation, index)}.json", record)

    def member(self, generation: int, index: int) -> Member | None:
        """Read a whole member; None when it was not evaluated yet."""
        return self._find(f"{_member(generation, index)}.json", Member)

    def put_timing(self, generation: int, index: int, phase: str, timing: Timing) -> None:
        """Write when and where a phase ran; the first writer wins."""
        key = self._key(f"{_member(generation, index)}.{phase}.timing.json")
        with suppress(ConflictError):
            self.store.create(key, canonical_json(timing.model_dump(mode="json")))

    def timing(self, generation: int, index: int, phase: str) -> Timing | None:
        """Read when and where a phase ran; None when unknown."""
        try:
            content = self.store.read(self._key(f"{_member(generation, index)}.{phase}.timing.json"))
        except MissingError:
            return None
        return Timing.model_validate_json(content)

    def put_commit(self, record: Generation) -> None:
        """Write a COMMIT: from here on the generation exists."""
        self._put(_commit(record.generation), record)

    def commit(self, generation: int) -> Generation:
        """Read a COMMIT; MissingError when the generation does not exist."""
        return self._get(_commit(generation), Generation)

    def commits(self) -> Iterator[Generation]:
        """Read the chain from COMMIT 0 on; CorruptError when a link does not fit the one before it."""
        previous: Generation | None = None
        while (commit := self._find(_commit(previous.generation + 1 if previous else 0), Generation)) is not None:
            if previous is not None and commit.previous != record_hash(previous):
                raise CorruptError(
                    f"{self.run_id}: COMMIT {commit.generation} follows {commit.previous}, but COMMIT "
                    f"{previous.generation} has the hash {record_hash(previous)}"
                )
            yield commit
            previous = commit

    def head(self) -> Generation | None:
        """Find the last COMMIT by direct key reads (doubling, then bisection); None before COMMIT 0."""
        if not self._committed(0):
            return None
        low, high = 0, 1
        while self._committed(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._committed(middle) else (low, middle)
        return self.commit(low)

    def other_numerics(self, head: Generation) -> list[str]:
        """Name what a COMMIT was computed under and this process is not: versions, CPU instructions, device."""
        content = self.store.read(self._key(_commit(head.generation)))
        recorded = Sealed[Generation].model_validate_json(content).numerics
        return [
            f"COMMIT {head.generation} was made with {name} {value}, here is {self._numerics.get(name)}"
            for name, value in recorded.items()
            if self._numerics.get(name) != value
        ]

    def put_confirmation(self, generation: int, record: Confirmation) -> None:
        """Write the confirmation of a generation's elite."""
        self._put(f"gen/{generation:06d}/confirm.json", record)

    def confirmation(self, generation: int) -> Confirmation | None:
        """Read the confirmation of a generation's elite; None when it was not made."""
        return self._find(f"gen/{generation:06d}/confirm.json", Confirmation)

    def _committed(self, generation: int) -> bool:
        return self.store.exists(self._key(_commit(generation)))

    def _key(self, name: str) -> str:
        return f"{self.run_id}/{name}"

    def _put(self, name: str, record: Record) -> None:
        self.store.create(self._key(name), canonical_json(seal(record, self._numerics).model_dump(mode="json")))

    def _find(self, name: str, kind: type[RecordT]) -> RecordT | None:
        try:
            return self._get(name, kind)
        except MissingError:
            return None

    def _get(self, name: str, kind: type[RecordT]) -> RecordT:
        content = self.store.read(self._key(name))
        try:
            sealed = Sealed[kind].model_validate_json(content)  # type: ignore[valid-type]
        except ValidationError as error:
            raise CorruptError(f"{self._key(name)}: not a record of this program: {error}") from error
        if record_hash(sealed.record) != sealed.sha256:
            raise CorruptError(
                f"{self._key(name)}: its content has the hash {record_hash(sealed.record)}, but it says "
                f"{sealed.sha256}; the record is damaged: restore it from a copy"
            )
        record: RecordT = sealed.record
        return record


def _member(generation: int, index: int) -> str:
    return f"gen/{generation:06d}/m/{index:04d}"


def _commit(generation: int) -> str:
    return f"gen/{generation:06d}/COMMIT.json"
