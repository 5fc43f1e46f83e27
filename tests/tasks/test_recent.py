"""What workers cache, and which requests to the store remain."""

from collections import Counter

import pytest

from evo_core.records.chain import record_hash
from tasks.generation_tasks import create_first_population, select_and_mutate
from tasks.member_tasks import evaluate_member, train_member
from tasks.runs.ref import RunRef
from tasks.store import MissingError
from tasks.store.memory_backend import MemoryBackend, _stores
from tasks.worker import cache as recent
from tasks.worker.cache import RecentCheckpoints
from tests.fake import SPACES, evolve, fake_config, fake_trainer, run_generation

CONFIG = fake_config(2)


@pytest.fixture
def run(monkeypatch):
    for name in ("memory://recent", "memory://oracle"):
        _stores.pop(name, None)
    with fake_trainer():
        monkeypatch.setattr(recent, "checkpoints", RecentCheckpoints())
        yield RunRef("memory://recent", "run", CONFIG, "cpu")


@pytest.fixture
def asked(monkeypatch):
    """Requests by operation and kind of key."""
    asked = Counter()
    for name in ("create", "read", "exists"):
        operation = getattr(MemoryBackend, name)

        def counted(self, key, *content, operation=operation, name=name):
            asked[name, _kind(key)] += 1
            return operation(self, key, *content)

        monkeypatch.setattr(MemoryBackend, name, counted)
    return asked


def test_the_oldest_checkpoints_go_and_the_newest_stays_whatever_its_size():
    kept = RecentCheckpoints(budget=10)
    kept.put("a", b"aaaa")
    kept.put("b", b"bbbb")
    assert kept.get("a") == b"aaaa"  # the newest now
    kept.put("c", b"cccc")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (b"aaaa", None, b"cccc")
    kept.put("d", b"d" * 100)
    assert (kept.get("a"), kept.get("c"), kept.get("d")) == (None, None, b"d" * 100)
    kept.put("e", b"e")
    assert (kept.get("d"), kept.get("e")) == (None, b"e")


def test_a_member_trained_beside_its_parent_costs_four_requests_and_four_reads_of_run_json(run, asked):
    head = run_generation(run, _begin(run))
    asked.clear()
    child = head.offspring[1]
    evaluate_member.fn(run, child, train_member.fn(run, child))
    looks = asked.pop(("read", "run/run.json"))  # before the training and before each write: is the run in place?
    assert asked == {("read", "train"): 1, ("create", "blob"): 1, ("create", "train"): 1, ("create", "member"): 1}
    assert looks == 4


def test_a_retried_evaluation_finds_the_member_in_the_store(run, asked):
    child = _begin(run).offspring[0]
    trained = train_member.fn(run, child)
    first = evaluate_member.fn(run, child, trained)
    asked.clear()
    again = evaluate_member.fn(run, child, trained)
    assert asked == {("read", "member"): 2}  # the member, and the numerics beside it, which the flow compares
    assert again.member == first.member
    assert again.evaluated is None  # when it ran is known to who ran it


def test_a_member_whose_training_was_found_may_be_evaluated_already(run, asked):
    child = _begin(run).offspring[0]
    first = evaluate_member.fn(run, child, train_member.fn(run, child))
    trained = train_member.fn(run, child)
    assert (trained.adopted, trained.timing) == (True, None)
    assert evaluate_member.fn(run, child, trained).member == first.member
    assert asked["create", "member"] == 1


def test_only_checkpoints_that_were_found_are_looked_for_before_a_commit(run, asked):
    head = _begin(run)
    results = [evaluate_member.fn(run, child, train_member.fn(run, child)) for child in head.offspring]
    assert not any(result.adopted for result in results)
    found = [evaluate_member.fn(run, child, train_member.fn(run, child)) for child in head.offspring[:2]]
    asked.clear()
    commit = select_and_mutate.fn(run, head, [*found, *results[2:]])
    assert asked["exists", "blob"] == 2
    assert set(run.open().timings(1).train) == {child.uid for child in head.offspring[2:]}
    oracle = RunRef("memory://oracle", "run", CONFIG, "cpu")
    evolve(oracle)
    assert record_hash(commit) == record_hash(oracle.open().commit(1))


def test_a_checkpoint_that_was_found_and_is_gone_prevents_the_commit(run):
    head = _begin(run)
    for child in head.offspring:
        train_member.fn(run, child)
    results = [evaluate_member.fn(run, child, train_member.fn(run, child)) for child in head.offspring]
    gone = results[2].member.training.blob.sha256
    run.open().store.delete(f"run/blobs/{gone}.safetensors")
    with pytest.raises(MissingError, match=gone):
        select_and_mutate.fn(run, head, results)
    assert run.open().head().generation == 0


def test_a_checkpoint_that_another_writer_had_created_counts_as_found(run):
    child = _begin(run).offspring[0]
    first = train_member.fn(run, child)
    run.open().store.delete("run/gen/000001/m/0000.train.json")  # it died before the record
    again = train_member.fn(run, child)
    assert (first.adopted, again.adopted) == (False, True)
    assert again.record == first.record


def _begin(run):
    run.open().create_run(CONFIG)
    return create_first_population.fn(run, SPACES)


def _kind(key):
    if "/blobs/" in key:
        return "blob"
    return "train" if key.endswith(".train.json") else "member" if "/m/" in key else key
