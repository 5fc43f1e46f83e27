"""Fork a run: a new run id that shares the history up to a generation."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from evo_core.records.chain import BlobRef, Generation, Member, record_hash
from tasks.runs import layout
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.run_records import Fork, Release
from tasks.runs.run_store import RunStore
from tasks.store import CorruptError, MissingError

if TYPE_CHECKING:
    from tasks.runs.recomputation import Recomputer


def fork(source: RunStore, target: RunStore, generation: int, recomputer: "Recomputer") -> None:
    """Copy a run up to a COMMIT under another id; if interrupted, call it again to finish.

    Checkpoints that the source has released stay released, but those that the next generation descends from are
    recomputed. run.json is written last: the new run exists once it is complete.
    """
    with source.in_place():
        _fork(source, target, generation, recomputer)


def _fork(source: RunStore, target: RunStore, generation: int, recomputer: "Recomputer") -> None:
    chain = [commit for commit, _ in zip(source.commits(), range(generation + 1), strict=False)]
    if len(chain) <= generation:
        raise MissingError(f"run {source.run_id} has no generation {generation}; its last one is {len(chain) - 1}")
    target.prepare()
    members = [member for commit in chain for member in commit.members]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        names = pool.map(lambda member: _copy_member(source, target, member), members)
        gone = {reference for reference in names if reference is not None}
    head = chain[-1]
    for uid, reference in _needed(head).items():
        if reference in gone:
            target.put_blob(recomputer.weights(uid, reference))
            gone.discard(reference)
    if gone and not target.releases():
        hashes = tuple(sorted(reference.sha256 for reference in gone))
        target.put_release(Release(head=generation, keep_generations=0, blobs=hashes))
    for commit in chain:
        _copy(source, target, layout.timings(commit.generation))
        if commit.elite is not None:
            _copy(source, target, layout.confirmation_of(commit.elite))
        _copy(source, target, layout.commit(commit.generation))
    if head.front and head.best is not None and head.best != head.elite:
        _copy(source, target, layout.confirmation_of(head.best))
    source.require_in_place()  # else objects missing from the source were not copied
    if target.commit(generation) != head:
        raise CorruptError(f"{target.key(layout.commit(generation))}: it differs from the one of {source.run_id}")
    origin = Fork(run_id=source.run_id, generation=generation, commit=record_hash(head))
    target.create_run(source.config(), origin)


def _needed(head: Generation) -> dict[str, BlobRef]:
    """Return the checkpoints that a run needs to continue, by uid."""
    elites = {elite.uid: elite.blob for elite in (head.elite, head.best, *head.front) if elite is not None}
    return elites | {o.parent: o.parent_blob for o in head.offspring if o.parent is not None and o.parent_blob}


def _copy_member(source: RunStore, target: RunStore, member: Member) -> BlobRef | None:
    """Copy a member's records and checkpoint; return the reference of the checkpoint if it is missing."""
    address, reference = (member.offspring.generation, member.offspring.index), member.training.blob
    gone = None
    if reference is not None:
        try:
            target.put_blob(source.blob(reference))
        except MissingError:
            gone = reference
    _copy(source, target, layout.training(*address))
    _copy(source, target, layout.member(*address))
    return gone


def _copy(source: RunStore, target: RunStore, name: str) -> None:
    try:
        content = source.store.read(source.key(name), bytes)
    except MissingError:
        return
    target.store.create(target.key(name), content)
