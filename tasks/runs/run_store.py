"""One run in a store: its records, each created once and verified on every read."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from evo_core.config.run_config import RunConfig
from evo_core.genome.architecture import Record
from evo_core.records.canonical import sha256
from evo_core.records.chain import (
    BlobRef,
    Confirmation,
    EliteRef,
    FailureDetail,
    Generation,
    Member,
    Offspring,
    Training,
    config_hash,
    record_hash,
)
from evo_core.records.replay_record import Replay, ReplayKind
from tasks.runs import layout
from tasks.runs.record_store import CONNECTIONS, RecordStore
from tasks.runs.run_records import Extension, Fork, Release, RunFile, Timings, extended
from tasks.store import ConflictError, CorruptError, MissingError


class RunStore(RecordStore):
    """The keys below one run id. Every key is created once; reading verifies hashes."""

    def create_run(self, config: RunConfig, forked_from: Fork | None = None) -> None:
        """Write run.json: from here on the run exists, and its place is never created again."""
        if not self._beginning:
            self.prepare()
        self.put(layout.RUN, RunFile(config=config, forked_from=forked_from))
        self._beginning = False

    def run_file(self) -> RunFile:
        """Read run.json; MissingError if there is no such run."""
        return self.get(layout.RUN, RunFile)

    def config(self) -> RunConfig:
        """Read the run's configuration with its last extension; MissingError if there is no such run."""
        original = self.run_file().config
        extensions = self.extensions()
        return extended(original, extensions[-1]) if extensions else original

    def extensions(self) -> list[Extension]:
        """Read every raised budget, oldest first."""
        return list(self._series(layout.extension, Extension))

    def extend(self, extension: Extension) -> None:
        """Add a raised budget; ConflictError if another one was added meanwhile."""
        self.put(layout.extension(len(self.extensions())), extension)

    def releases(self) -> list[Release]:
        """Read all releases, oldest first."""
        return list(self._series(layout.release, Release))

    def put_release(self, release: Release) -> None:
        """Write which checkpoints are about to be deleted, after the releases of other garbage collectors."""
        while True:
            last = self.last(layout.release)
            with suppress(ConflictError):
                return self.put(layout.release(0 if last is None else last + 1), release)

    def put_blob(self, content: bytes) -> bool:
        """Store a checkpoint under its hash; return True if it did not exist yet."""
        return self._create(layout.blob(sha256(content)), content)

    def blob(self, reference: BlobRef) -> bytes:
        """Read a checkpoint; CorruptError if it does not match its reference."""
        key = self.key(layout.blob(reference.sha256))

        def verify(content: bytes) -> bytes:
            if len(content) != reference.size or sha256(content) != reference.sha256:
                raise CorruptError(
                    f"{key}: expected {reference.size} bytes with sha256 {reference.sha256}, got {len(content)} bytes "
                    f"with {sha256(content)}; the checkpoint is damaged: `evolve verify {self.run_id} --repair` "
                    "computes it again"
                )
            return content

        try:
            return self.store.read(key, verify, expected=True)
        except MissingError:
            raise MissingError(
                f"{key} does not exist; `evolve verify {self.run_id} --repair` computes it again"
            ) from None

    def missing_blobs(self, references: Iterable[BlobRef]) -> list[BlobRef]:
        """Return the checkpoints missing from the store."""
        asked = list(references)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            keys = [self.key(layout.blob(reference.sha256)) for reference in asked]
            there = pool.map(lambda key: self.store.exists(key, expected=True), keys)
        return [reference for reference, found in zip(asked, there, strict=True) if not found]

    def put_training(self, generation: int, index: int, record: Training, detail: FailureDetail | None = None) -> None:
        """Write a member's training record."""
        self.put(layout.training(generation, index), record, detail)

    def training(self, generation: int, index: int) -> Training | None:
        """Read a member's training record; None if it has not been trained yet."""
        return self.find(layout.training(generation, index), Training)

    def put_member(self, generation: int, index: int, record: Member, detail: FailureDetail | None = None) -> None:
        """Write a complete member."""
        self.put(layout.member(generation, index), record, detail)

    def member(self, generation: int, index: int) -> Member | None:
        """Read a complete member; None if it has not been evaluated yet."""
        return self.find(layout.member(generation, index), Member)

    def put_timings(self, generation: int, timings: Timings) -> None:
        """Write when and where a generation's members ran; the first writer wins."""
        with suppress(ConflictError):
            self.put(layout.timings(generation), timings)

    def timings(self, generation: int) -> Timings:
        """Read when and where a generation's members ran, as far as that is known.

        A damaged record counts as unknown: `evolve verify` reports it.
        """
        with suppress(CorruptError):
            return self.find(layout.timings(generation), Timings) or Timings()
        return Timings()

    def put_commit(self, record: Generation) -> None:
        """Write a COMMIT: from here on the generation exists.

        GoneError unless run.json and the preceding COMMIT are in the store.
        """
        if record.generation:  # for COMMIT 0, run.json is read as its predecessor
            self.require_in_place()
        self._require_predecessor(record)
        self.put(layout.commit(record.generation), record)

    def commit(self, generation: int) -> Generation:
        """Read a COMMIT; MissingError if the generation does not exist."""
        return self.get(layout.commit(generation), Generation)

    def offspring(self, uid: str) -> Offspring:
        """Read a member as it was before training; MissingError if the run has no member with this uid."""
        generation, _, index = uid.removeprefix("g").partition("/m")
        if not (generation.isdigit() and index.isdigit()) or int(generation) < 1:
            raise MissingError(f"member {uid!r}: expected a name such as g0003/m05")
        population = self.commit(int(generation) - 1).offspring
        if int(index) >= len(population):
            raise MissingError(
                f"member {uid}: the population has {len(population)} members, m00 to m{len(population) - 1:02d}"
            )
        return population[int(index)]

    def commits(self) -> Iterator[Generation]:
        """Iterate over the chain from COMMIT 0 on; CorruptError if a COMMIT does not match its predecessor."""
        before: str | None = None
        for sealed in self._sealed_series(layout.commit, Generation):
            commit = sealed.record
            if before is not None and commit.previous != before:
                raise CorruptError(
                    f"{self.run_id}: COMMIT {commit.generation} follows {commit.previous}, but COMMIT "
                    f"{commit.generation - 1} has the hash {before}"
                )
            yield commit
            before = sealed.sha256

    def commits_from(self, generation: int, head: Generation) -> Iterator[Generation]:
        """Iterate over the COMMITs from a generation to a head, which is not read again."""
        for missing in range(generation, head.generation):
            yield self.commit(missing)
        if generation <= head.generation:
            yield head

    def head(self) -> Generation | None:
        """Return the last COMMIT, found by direct key reads; None before COMMIT 0."""
        last = self.last(layout.commit)
        return None if last is None else self.commit(last)

    def other_numerics(self, head: Generation) -> list[str]:
        """Describe how the numerics of a COMMIT differ from this process's: versions, CPU instructions, device."""
        from evo_core.numerics.provenance import numerics_differences

        recorded = self.numerics_of(layout.commit(head.generation), Generation)
        return [
            f"COMMIT {head.generation} was made with {difference}"
            for difference in numerics_differences(recorded, self.numerics)
        ]

    def numerics_of(self, name: str, kind: type[Record]) -> dict[str, str]:
        """Read the numerics that a record was computed under."""
        return self.sealed(name, kind).numerics

    def put_confirmation(self, elite: EliteRef, record: Confirmation) -> None:
        """Write the confirmation of an elite."""
        self.put(layout.confirmation_of(elite), record)

    def confirmation(self, elite: EliteRef) -> Confirmation | None:
        """Read the confirmation of an elite; None if there is none."""
        return self.find(layout.confirmation_of(elite), Confirmation)

    def put_replay(self, number: int, record: Replay) -> None:
        """Write the result of a replay."""
        self.put(layout.replay(record.uid, record.kind, number), record)

    def replay(self, uid: str, kind: ReplayKind, number: int) -> Replay | None:
        """Read a replay; None if it does not exist yet."""
        return self.find(layout.replay(uid, kind, number), Replay)

    def replays(self, uid: str, kind: ReplayKind) -> dict[int, Replay]:
        """Read a member's replays of a kind, by number; they are created in any order."""
        names = self.store.children(self.key(layout.replays(uid, kind)))
        numbers = sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())
        found = {number: self.replay(uid, kind, number) for number in numbers}
        return {number: record for number, record in found.items() if record is not None}

    def _require_predecessor(self, record: Generation) -> None:
        number = record.generation
        name = layout.commit(number - 1) if number else layout.RUN
        try:
            found = record_hash(self.commit(number - 1)) if number else config_hash(self.run_file().config)
        except MissingError:
            raise self._gone(f"no longer holds {self.key(name)}") from None
        if found != record.previous:
            raise self._gone(f"holds another {self.key(name)}: expected the hash {record.previous}, got {found}")
