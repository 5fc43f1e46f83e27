"""The layout of a run, and verification of records on every read."""

import json
import time

import pytest

from evo_core.local import train_on_policy
from evo_core.records.canonical import canonical_json
from evo_core.records.chain import FailureDetail
from evo_core.records.sealed import Sealed
from flows.outcome import stored_ending
from tasks.runs.ref import RunRef
from tasks.runs.run_records import sealed_bytes
from tasks.runs.run_store import RunStore
from tasks.store import ConflictError, CorruptError, MissingError, open_store
from tasks.store.memory_backend import MemoryBackend
from tests.conftest import make_config

NUMERICS = {"torch": "2", "cpu": "x"}


@pytest.fixture(scope="module")
def result():
    return train_on_policy(make_config())


@pytest.fixture
def run(tmp_path, result):
    store = RunStore(open_store(tmp_path.as_uri()), "run", lambda: NUMERICS)
    store.create_run(make_config())
    for commit in result.commits:
        store.put_commit(commit)
    return store


def tamper(tmp_path, key, change):
    path = tmp_path / "run" / key
    path.write_text(change(path.read_text()))


def test_configuration_and_chain_come_back_as_they_were(run, result):
    assert run.config() == make_config()
    assert list(run.commits()) == list(result.commits)
    assert run.head() == result.commits[-1]


def test_members_are_absent_until_they_are_written(run, result):
    member = result.commits[1].members[2]
    assert run.training(1, 2) is None
    assert run.member(1, 2) is None
    run.put_training(1, 2, member.training)
    run.put_member(1, 2, member)
    assert run.training(1, 2) == member.training
    assert run.member(1, 2) == member
    run.put_member(1, 2, member)  # the same again is adopted
    with pytest.raises(ConflictError):
        run.put_member(1, 2, result.commits[1].members[1])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 100])
def test_the_head_is_found_by_few_direct_reads(tmp_path, result, count):
    store = RunStore(open_store(tmp_path.as_uri()), "run", lambda: NUMERICS)
    store.store.prepare("run")
    for generation in range(count):
        record = result.commits[1].model_copy(update={"generation": generation})
        store.store.create(f"run/gen/{generation:06d}/COMMIT.json", sealed_bytes(record, NUMERICS))
    asked = []
    exists = store.store.exists
    store.store.exists = lambda key, **how: asked.append(key) or exists(key, **how)
    head = store.head()
    assert (head.generation if head else None) == (count - 1 if count else None)
    assert len(asked) <= 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"train_steps":768', '"train_steps":769'), "the record is damaged"),
        (lambda text: text[:-20], "not a record of this program"),
        (lambda text: "", "not a record of this program"),
        (lambda text: json.dumps({**json.loads(text), "extra": 1}), "not a record of this program"),
    ],
)
def test_a_changed_record_is_corrupt(run, tmp_path, change, message):
    tamper(tmp_path, "gen/000001/COMMIT.json", change)
    with pytest.raises(CorruptError, match=message):
        run.commit(1)


def test_stored_records_are_canonical(result):
    for record in (result.commits[0], result.commits[2], result.commits[2].members[1].training):
        for detail in (None, FailureDetail(message="it broke", error="RuntimeError", frames=("arm.py:1 in hit",))):
            content = sealed_bytes(record, {"torch": "2", "cpu": "a"}, detail)
            assert content == canonical_json(Sealed[type(record)].model_validate_json(content))


def test_a_link_that_does_not_fit_is_corrupt(run, tmp_path, result):
    other = train_on_policy(make_config(seed=2))
    (tmp_path / "run/gen/000002/COMMIT.json").write_bytes(sealed_bytes(other.commits[2], NUMERICS))
    with pytest.raises(CorruptError, match="COMMIT 2 follows"):
        list(run.commits())


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_changed_checkpoint_is_corrupt(run, tmp_path, result, change):
    reference = result.elite.blob
    assert run.put_blob(result.checkpoint)
    assert not run.put_blob(result.checkpoint)  # it was there
    assert run.blob(reference) == result.checkpoint
    path = tmp_path / "run" / "blobs" / f"{reference.sha256}.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CorruptError, match="the checkpoint is damaged"):
        run.blob(reference)


def test_a_missing_generation_is_named(run, result):
    with pytest.raises(MissingError, match="COMMIT"):
        run.commit(9)
    elite = result.commits[-1].elite
    assert run.confirmation(elite.model_copy(update={"generation": 9})) is None


def test_other_numerics_are_named_beside_the_hashed_part(run, tmp_path, result):
    elsewhere = RunStore(open_store(tmp_path.as_uri()), "run", lambda: {"torch": "3", "cpu": "x"})
    assert elsewhere.commit(3) == result.commits[3]
    assert run.other_numerics(result.commits[3]) == []
    assert elsewhere.other_numerics(result.commits[3]) == ["COMMIT 3 was made with torch 2, here is 3"]


def test_the_same_record_made_on_another_kind_of_machine_is_adopted(run, tmp_path, result):
    elsewhere = RunStore(open_store(tmp_path.as_uri()), "run", lambda: {"torch": "3", "cpu": "x"})
    elsewhere.put_commit(result.commits[2])
    assert run.other_numerics(result.commits[2]) == []  # the first one stays
    with pytest.raises(ConflictError):
        elsewhere.put_commit(result.commits[2].model_copy(update={"train_steps": 1}))


@pytest.mark.parametrize("run_id", ["", "Upper", "a/b", "../x", "-a", "a" * 64, "a b", "a\n"])
def test_a_run_id_that_could_leave_its_place_is_refused(tmp_path, run_id):
    with pytest.raises(ValueError, match="expected 1 to 63"):
        RunStore(open_store(tmp_path.as_uri()), run_id)


def test_ten_thousand_generations_are_found_and_summarized_by_few_requests(result, monkeypatch):
    config = make_config(**{"training.max_steps": 10_000 * 768})
    run = RunRef("memory://long", "run", config, "cpu")
    store = run.open()
    store.create_run(config)
    head = result.commits[-1].model_copy(update={"generation": 10_000})
    for generation in range(10_000):
        store.store.create(f"run/gen/{generation:06d}/COMMIT.json", b"is there")
    store.store.create("run/gen/010000/COMMIT.json", sealed_bytes(head, {}))
    for elite in {head.elite.generation: head.elite, head.best.generation: head.best}.values():
        store.put_confirmation(elite, result.confirmed.model_copy(update={"uid": elite.uid}))
    asked = []
    for name in ("read", "exists"):
        operation = getattr(MemoryBackend, name)
        monkeypatch.setattr(
            MemoryBackend, name, lambda self, key, operation=operation: asked.append(key) or operation(self, key)
        )
    assert store.head() == head
    assert len(asked) <= 40
    asked.clear()
    began = time.monotonic()
    assert stored_ending(run, run.open().head()) is not None
    assert len(asked) <= 40
    assert time.monotonic() - began < 10
