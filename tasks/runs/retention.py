"""Retention: determine which checkpoints a run still needs, and release the others.

Always kept: run.json, COMMITs and records, and the weights of every generation's elite. Kept while needed: weights of
the last generations, of the front, of all parents of the current offspring, and of members that are not committed yet.
Released checkpoints can be recomputed from the nearest kept ancestor.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from evo_core.records.chain import Generation
from tasks.runs import layout
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.run_records import Release
from tasks.runs.run_store import RunStore
from tasks.store import MissingError

KEPT_GENERATIONS = 3
"""Number of last generations whose checkpoints a garbage collection keeps by default."""

ORPHAN_AGE_S = 24 * 3600.0
"""A checkpoint that no record references is kept for this long, because its record may not be written yet."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Checkpoints (by hash) that would be released, and the total bytes of the committed ones among them."""

    blobs: tuple[str, ...]
    size: int


def plan(run: RunStore, keep_generations: int) -> Plan:
    """Determine what the rule releases. Safe while a writer is running: what it may still need is kept."""
    listed = [name.removesuffix(".safetensors") for name in run.store.children(run.key("blobs"))]
    head = run.head()  # after listing: every checkpoint in the list is either of this chain, or not committed yet
    if head is None:
        run.require_in_place()
        return Plan((), 0)
    committed: dict[str, int] = {}
    kept, last = _in_use(run, head), None
    for last in run.commits():
        blobs = {m.training.blob.sha256: m.training.blob.size for m in last.members if m.training.blob}
        committed |= blobs
        if last.generation > head.generation - keep_generations:
            kept |= set(blobs)
        if last.elite is not None:
            kept.add(last.elite.blob.sha256)
    if last is None or last.generation < head.generation:
        raise MissingError(f"{run.run_id}: the chain ends before its head; nothing was released, try again")
    found = tuple(sha for sha in listed if sha not in kept and (sha in committed or _orphaned(run, sha)))
    return Plan(found, sum(committed.get(sha, 0) for sha in found))


def collect(run: RunStore, keep_generations: int) -> Plan:
    """Release what the rule releases; return the plan. If interrupted, the next call finishes it."""
    found, head = plan(run, keep_generations), run.head()
    if head is not None:
        known = {sha for record in run.releases() for sha in record.blobs}
        _record_release(run, [sha for sha in found.blobs if sha not in known], head, keep_generations)
        now = run.head() or head  # a run may have continued meanwhile, and adopted an orphan
        in_use = _in_use(run, now) | {m.training.blob.sha256 for m in now.members if m.training.blob}
        _delete(run, [sha for sha in found.blobs if sha not in in_use])
    return found


def release_passed(run: RunStore, head: Generation, keep_generations: int) -> int:
    """Release the checkpoints of the generation that has just left the kept ones; return how many.

    Those that were archived stay until `collect`, which knows whether they belong to other generations' elites too.
    """
    passed = head.generation - keep_generations
    if passed < 1:
        return 0
    commit = run.commit(passed)
    kept = _needed(head) | ({commit.elite.blob.sha256} if commit.elite else set())
    if head.draw is not None and head.draw.archive:
        kept |= _archived(run, passed, head)
    blobs = [m.training.blob.sha256 for m in commit.members if m.training.blob and m.training.blob.sha256 not in kept]
    _record_release(run, blobs, head, keep_generations)
    _delete(run, blobs)
    return len(blobs)


def _archived(run: RunStore, generation: int, head: Generation) -> set[str]:
    """Return the checkpoints that were in the archive from a generation on."""
    commits = run.commits_from(generation, head)
    archived = [member.offspring for commit in commits for member in commit.members if member.offspring.archived]
    return {offspring.parent_blob.sha256 for offspring in archived if offspring.parent_blob is not None}


def _record_release(run: RunStore, blobs: Sequence[str], head: Generation, keep_generations: int) -> None:
    if blobs:
        record = Release(head=head.generation, keep_generations=keep_generations, blobs=tuple(sorted(blobs)))
        run.put_release(record)


def _delete(run: RunStore, blobs: Sequence[str]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda sha: run.store.delete(run.key(layout.blob(sha))), blobs))


def _in_use(run: RunStore, head: Generation) -> set[str]:
    """Return the checkpoints that the chain continues from, and those of members that are not committed yet."""
    trained = (run.training(child.generation, child.index) for child in head.offspring)
    return _needed(head) | {record.blob.sha256 for record in trained if record is not None and record.blob}


def _needed(commit: Generation) -> set[str]:
    """Return the checkpoints of the elite, the best elite, the front and all parents."""
    elites = [elite.blob for elite in (commit.elite, commit.best, *commit.front) if elite is not None]
    parents = [child.parent_blob for child in commit.offspring if child.parent_blob is not None]
    return {reference.sha256 for reference in (*elites, *parents)}


def _orphaned(run: RunStore, sha: str) -> bool:
    try:
        return run.store.age_s(run.key(layout.blob(sha))) > ORPHAN_AGE_S
    except MissingError:
        return False
