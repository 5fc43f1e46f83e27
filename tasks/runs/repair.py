"""Repair of a run: recompute damaged objects, and replace one only if the result has the same hash."""

from contextlib import suppress
from dataclasses import dataclass

from evo_core.evaluation.confirmation import chunk_count, confirmation, play_chunk
from evo_core.evolution.population import create_population, next_generation
from evo_core.genome.architecture import Record
from evo_core.records.chain import Generation, Member, Training, record_hash
from tasks.runs import layout
from tasks.runs.findings import Finding, Verification
from tasks.runs.recomputation import Recomputer
from tasks.runs.run_records import sealed_bytes
from tasks.runs.run_store import RunStore
from tasks.store import CorruptError, MissingError, StoreError


class Unrepairable(RuntimeError):
    """Nothing in the store determines the lost content."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Restores what a verification found missing or damaged."""

    run: RunStore
    verification: Verification
    recomputer: Recomputer

    def apply(self, finding: Finding) -> str:
        """Repair one object and return how; Unrepairable or StoreError if it cannot be."""
        match finding.what:
            case "blob":
                return self._blob(finding)
            case "training" | "member":
                return self._record(finding)
            case "commit":
                return self._commit(finding)
            case "confirmation":
                return self._confirmation(finding)
            case "timings" | "replay" | "orphan":
                self.run.store.delete(self.run.key(finding.name))
                return "deleted: nothing depends on it"
        raise Unrepairable(f"{finding.name}: its content cannot be recomputed from the store; restore it from a copy")

    def _blob(self, finding: Finding) -> str:
        assert finding.uid is not None
        training = self._training(finding.uid)
        assert training.blob is not None
        content = self.recomputer.weights(finding.uid, training.blob)
        self._replace(finding.name, content)
        return f"computed again from {self.run.offspring(finding.uid).parent or 'its seed'}: the same sha256"

    def _record(self, finding: Finding) -> str:
        """Restore a committed member's records from its COMMIT; recompute an uncommitted one's."""
        assert finding.uid is not None
        commit = self._intact(finding.generation)
        member = self._committed(finding.uid)
        if member is None:
            if commit is not None or finding.generation - 1 not in self.verification.intact:
                raise Unrepairable(f"{finding.name}: repair the COMMIT of its generation first, then repeat")
            content, member = self.recomputer.member(self.run.offspring(finding.uid))
            if content is not None:
                self.run.put_blob(content)
            self._put(finding.name, member.training if finding.what == "training" else member)
            return "computed again"
        self._put(finding.name, member.training if finding.what == "training" else member, finding.generation)
        return "restored from its COMMIT"

    def _commit(self, finding: Finding) -> str:
        generation, config = finding.generation, self.recomputer.config
        if generation == 0:
            commit = create_population(config, self.recomputer.spaces.observation)
        else:
            previous = self._intact(generation - 1)
            if previous is None:
                raise Unrepairable(f"{finding.name}: repair COMMIT {generation - 1} first, then repeat")
            members = [self.run.get(layout.member(c.generation, c.index), Member) for c in previous.offspring]
            commit = next_generation(config, previous, members)
        following = None
        with suppress(CorruptError):  # it is repaired after this one
            following = self.run.find(layout.commit(generation + 1), Generation)
        if following is not None and following.previous != record_hash(commit):
            raise Unrepairable(
                f"{finding.name}: selection gives a COMMIT with the hash {record_hash(commit)}, but the next one "
                f"follows {following.previous}; restore it from a copy"
            )
        self._put(finding.name, commit)
        self.verification.intact.add(generation)
        return "selected again from its members"

    def _confirmation(self, finding: Finding) -> str:
        commit = self._intact(finding.generation)
        elites = [elite for elite in (commit.elite, commit.best) if elite is not None] if commit else []
        elite = next((one for one in elites if layout.confirmation_of(one) == finding.name), None)
        if elite is None:
            raise Unrepairable(f"{finding.name}: repair the COMMIT of its generation first, then repeat")
        r = self.recomputer
        blob = r.weights(elite.uid, elite.blob)
        chunks = [play_chunk(r.config, elite, blob, r.spaces, i, r.device) for i in range(chunk_count(r.config))]
        record = confirmation(r.config, elite, chunks)
        if record is None:
            raise Unrepairable(f"{finding.name}: the environment broke while it was played again")
        self._put(finding.name, record)
        return "played again"

    def _training(self, uid: str) -> Training:
        member = self._committed(uid)
        if member is not None:
            return member.training
        offspring = self.run.offspring(uid)
        training = self.run.training(offspring.generation, offspring.index)
        if training is None:
            raise MissingError(f"{uid} has not been trained yet")
        return training

    def _committed(self, uid: str) -> Member | None:
        offspring = self.run.offspring(uid)
        commit = self._intact(offspring.generation)
        return commit.members[offspring.index] if commit is not None else None

    def _intact(self, generation: int) -> Generation | None:
        return self.run.commit(generation) if generation in self.verification.intact else None

    def _put(self, name: str, record: Record, generation: int | None = None) -> None:
        """Seal a record with the numerics of its COMMIT (without `generation`, of this machine), and replace it."""
        if generation is None:
            numerics = self.run.numerics
        else:
            numerics = self.run.sealed(layout.commit(generation), Generation).numerics
        self._replace(name, sealed_bytes(record, numerics))

    def _replace(self, name: str, content: bytes) -> None:
        self.run.require_in_place()
        self.run.store.replace(self.run.key(name), content)


def repair_all(repair: Repair) -> list[tuple[Finding, str, bool]]:
    """Repair every finding, COMMITs first and in order; return each with the outcome and whether it is intact now."""
    order = ("commit", "training", "member", "blob")
    findings = sorted(
        repair.verification.findings,
        key=lambda f: (order.index(f.what) if f.what in order else len(order), f.generation, f.name),
    )
    outcomes = []
    for finding in findings:
        try:
            with repair.run.in_place():
                outcomes.append((finding, repair.apply(finding), True))
        except (Unrepairable, StoreError) as error:
            outcomes.append((finding, str(error), False))
    return outcomes
