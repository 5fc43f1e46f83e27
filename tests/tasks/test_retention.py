"""Releasing checkpoints while a run continues, on a store with occasional wrong answers."""

from datetime import timedelta

import pytest

from evo_core.records.canonical import sha256
from evo_core.records.chain import record_hash
from tasks.runs import layout, retention
from tasks.runs.recomputation import Recomputer
from tasks.runs.ref import RunRef
from tasks.runs.repair import Repair, repair_all
from tasks.runs.run_records import Release
from tasks.runs.verification import verify
from tasks.store import MissingError
from tasks.store import store as base
from tasks.store.memory_backend import MemoryBackend, _stores
from tests.fake import SPACES, evolve, fake_config, fake_trainer, run_generation, run_member

CONFIG = fake_config(6)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(base, "PAUSE_S", 0.0)
    _stores.pop("memory://retention", None)
    with fake_trainer():
        yield RunRef("memory://retention", "run", CONFIG, "cpu")


@pytest.fixture
def later(monkeypatch):
    """Advance the store's clock by 30 hours."""

    def jump():
        now = MemoryBackend.now
        monkeypatch.setattr(MemoryBackend, "now", lambda self: now(self) + timedelta(hours=30))

    return jump


def blobs(run):
    return {name.removesuffix(".safetensors") for name in run.open().store.children("run/blobs")}


def made_by(commit):
    return {member.training.blob.sha256 for member in commit.members}


def test_the_rule_keeps_elites_parents_and_the_last_generations(run):
    head = evolve(run)
    chain = list(run.open().commits())
    retention.collect(run.open(), 2)
    elites = {commit.elite.blob.sha256 for commit in chain[1:]}
    parents = {child.parent_blob.sha256 for child in head.offspring}
    assert blobs(run) == elites | parents | made_by(chain[-1]) | made_by(chain[-2])


def test_the_archive_keeps_its_checkpoints_while_the_run_releases_others(run):
    config = fake_config(12, **{"selection.archive": 2})
    run = RunRef("memory://retention", "run", config, "cpu")
    head = evolve(run, keep_generations=1)
    chain = list(run.open().commits())
    elites = {commit.elite.blob.sha256 for commit in chain[1:]}
    parents = {child.parent_blob.sha256 for child in head.offspring}
    assert any(child.archived for child in head.offspring)
    assert elites | parents <= blobs(run) < set().union(*map(made_by, chain))
    assert verify(run.open(), SPACES).findings == []
    retention.collect(run.open(), 1)
    assert blobs(run) == elites | parents | made_by(chain[-1])
    assert verify(run.open(), SPACES).findings == []


def test_a_released_checkpoint_is_computed_again_through_the_archive(run):
    config = fake_config(8, **{"selection.archive": 2})
    run = RunRef("memory://retention", "run", config, "cpu")
    evolve(run)
    store, chain = run.open(), list(run.open().commits())
    copy = next(m for commit in chain[3:] for m in commit.members if m.offspring.archived)
    kept = store.blob(copy.training.blob)
    store.store.delete(store.key(layout.blob(copy.training.blob.sha256)))
    assert Recomputer(store, config, SPACES).weights(copy.uid, copy.training.blob) == kept


def test_a_young_checkpoint_without_a_record_stays_and_an_old_one_goes(run, later):
    evolve(run)
    run.open().put_blob(content := b"whose record never came")
    orphan = sha256(content)
    retention.collect(run.open(), 3)
    assert orphan in blobs(run)
    later()
    assert orphan in retention.plan(run.open(), 3).blobs
    retention.collect(run.open(), 3)
    assert orphan not in blobs(run)


@pytest.mark.parametrize("victim", [0, 2, 5, 6])
def test_one_wrong_404_releases_nothing_more(run, later, monkeypatch, victim):
    evolve(run)
    right = retention.plan(run.open(), 3)
    later()
    for name in ("read", "exists"):
        operation, left = getattr(MemoryBackend, name), [f"run/{layout.commit(victim)}"]

        def lying(self, key, operation=operation, left=left, name=name):
            if key in left:
                left.remove(key)
                if name == "exists":
                    return False
                raise MissingError(key)
            return operation(self, key)

        monkeypatch.setattr(MemoryBackend, name, lying)
    assert retention.plan(run.open(), 3).blobs == right.blobs
    assert run.open().head().generation == 6


def test_checkpoints_adopted_during_garbage_collection_are_kept(run, later, monkeypatch):
    evolve(run)
    longer = RunRef(run.store_url, "run", fake_config(7), "cpu")
    head = run.open().head()
    orphans = set()
    for child in head.offspring:  # a run that died after the checkpoints, before the records
        content, _ = Recomputer(run.open(), CONFIG, SPACES).train(child)
        run.open().put_blob(content)
        orphans.add(sha256(content))
    later()
    write_down = retention._record_release

    def slowly(*arguments):
        write_down(*arguments)
        run_generation(longer, head)  # between the plan and the deletion

    monkeypatch.setattr(retention, "_record_release", slowly)
    retention.collect(run.open(), 3)
    assert orphans <= blobs(run)
    assert run.open().head().generation == 7
    assert verify(run.open(), SPACES).findings == []


def test_a_released_checkpoint_that_is_there_again_is_verified_again(run, later):
    evolve(run)
    victim = run.open().commit(1).members[1].training.blob
    run.open().put_release(Release(head=6, keep_generations=1, blobs=(victim.sha256,)))
    run.open().store.replace(f"run/{layout.blob(victim.sha256)}", b"rubbish")
    assert [finding.name for finding in verify(run.open(), SPACES).findings] == [layout.blob(victim.sha256)]


def test_a_parent_that_was_released_by_mistake_is_found_and_computed_again(run):
    head = evolve(run)
    parent = head.offspring[-1].parent_blob
    run.open().put_release(Release(head=6, keep_generations=1, blobs=(parent.sha256,)))
    run.open().store.delete(f"run/{layout.blob(parent.sha256)}")
    found = verify(run.open(), SPACES)
    assert [finding.name for finding in found.findings] == [layout.blob(parent.sha256)]
    run_generation(RunRef(run.store_url, "run", fake_config(7), "cpu"), head)  # the run itself does not mind
    repair_all(Repair(run.open(), found, Recomputer(run.open(), CONFIG, SPACES)))
    assert parent.sha256 in blobs(run)
    assert verify(run.open(), SPACES).findings == []


def test_a_slow_writer_recomputes_checkpoints_that_were_collected(run):
    evolve(run)
    chain = [record_hash(commit) for commit in run.open().commits()]
    retention.collect(run.open(), 1)
    for index in range(4):
        run_member(run, 2, index)
        run_member(run, 4, index)
    run_generation(run, run.open().commit(2))
    assert [record_hash(commit) for commit in run.open().commits()] == chain


def test_concurrent_collectors_write_both_lists(run, monkeypatch):
    evolve(run)
    store = run.open()
    last = store.last
    other = Release(head=6, keep_generations=1, blobs=("a" * 64,))
    run.open().put_release(other)

    def once_blind(name):
        monkeypatch.setattr(store, "last", last)
        return None

    monkeypatch.setattr(store, "last", once_blind)
    store.put_release(Release(head=6, keep_generations=2, blobs=("b" * 64,)))
    assert [release.blobs for release in run.open().releases()] == [other.blobs, ("b" * 64,)]
