"""A store that disappears during a run is not created anew; the run resumes when it is back."""

import os
import shutil

import pytest
import s3fs

from evo_core.records.chain import record_hash
from tasks.runs import retention
from tasks.runs.fork import fork
from tasks.runs.recomputation import Recomputer
from tasks.runs.ref import RunRef
from tasks.runs.repair import Repair, repair_all
from tasks.runs.run_records import Extension
from tasks.runs.run_store import RunStore
from tasks.runs.verification import verify
from tasks.store import SCHEMES, GoneError, open_store
from tasks.store import store as base
from tasks.store.file_backend import FileBackend
from tasks.views.study import StudyRecorder
from tasks.views.trackers.recorder import TrackRecorder
from tests.fake import SPACES, evolve, fake_config, fake_trainer, run_generation

CONFIG = fake_config()


class Vanishing(FileBackend):
    """Numbers every write, and has the whole store moved away before one of them."""

    writes = 0
    at = -1

    def create(self, key, content):
        Vanishing.writes += 1
        if Vanishing.writes - 1 == self.at:
            os.rename(self.root, f"{self.root}.gone")
        super().create(key, content)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(base, "PAUSE_S", 0.0)
    monkeypatch.setitem(SCHEMES, "vanish", lambda url: Vanishing(tmp_path / url.split("://")[1]))
    monkeypatch.setattr(Vanishing, "writes", 0)
    with fake_trainer():
        yield


def chain(run):
    return [record_hash(commit) for commit in run.open().commits()]


def test_a_store_that_disappears_at_any_write_is_not_created_again_and_the_resumed_chain_is_the_same(
    tmp_path, monkeypatch
):
    calm = RunRef("vanish://calm", "run", CONFIG, "cpu")
    evolve(calm, keep_generations=1)
    total, begun = Vanishing.writes, 3  # the probe's two and run.json
    assert total > 40
    for number in {*range(begun, begun + 8), *range(begun + 8, total, 5), total - 1}:
        run = RunRef(f"vanish://at-{number}", "run", CONFIG, "cpu")
        directory = tmp_path / f"at-{number}"
        monkeypatch.setattr(Vanishing, "writes", 0)
        monkeypatch.setattr(Vanishing, "at", number)
        with pytest.raises(GoneError, match=r"the store is gone: .* Nothing was created in its place; restore it"):
            evolve(run, keep_generations=1)
        assert not directory.exists(), number
        monkeypatch.setattr(Vanishing, "at", -1)
        os.rename(f"{directory}.gone", directory)
        evolve(run, keep_generations=1)
        assert chain(run) == chain(calm)


@pytest.fixture
def run(tmp_path):
    reference = RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu")
    evolve(reference)
    return reference


def test_an_unmounted_share_leaves_an_empty_directory_that_stays_empty(run, tmp_path):
    """The mount point of a share stays, and so does that of a run that is mounted itself."""
    longer = RunRef(run.store_url, "run", fake_config(5), "cpu")
    store, head = run.open(), run.open().head()
    for place in (tmp_path / "runs", tmp_path / "runs" / "run"):
        os.rename(place, tmp_path / "gone")
        place.mkdir()
        with pytest.raises(GoneError, match=r"no longer holds run/run\.json"):
            run_generation(longer, head)
        with pytest.raises(GoneError):
            store.put_blob(b"x")
        with pytest.raises(GoneError):
            store.put_commit(head.model_copy(update={"generation": 4, "previous": record_hash(head)}))
        assert os.listdir(place) == []
        place.rmdir()
        os.rename(tmp_path / "gone", place)
    assert run_generation(longer, head).generation == 4


def test_a_commit_requires_its_predecessor_in_the_store(run, tmp_path):
    """Another store behind the same address may hold a run of the same id."""
    head, store = run.open().head(), run.open()
    (tmp_path / "runs" / "run" / "gen" / "000003" / "COMMIT.json").unlink()
    following = head.model_copy(update={"generation": 4, "previous": record_hash(head)})
    with pytest.raises(GoneError, match=r"no longer holds run/gen/000003/COMMIT\.json"):
        store.put_commit(following)
    store.put_commit(head)
    with pytest.raises(GoneError, match=r"holds another run/gen/000003/COMMIT\.json: expected the hash abc"):
        store.put_commit(following.model_copy(update={"previous": "abc"}))
    other = RunStore(open_store(run.store_url), "other")
    other.create_run(fake_config(seed=7))
    with pytest.raises(GoneError, match=r"holds another other/run\.json"):
        other.put_commit(store.commit(0))


def test_no_command_creates_anything_where_the_store_was(run, tmp_path):
    store, head = run.open(), run.open().head()
    recomputer = Recomputer(store, CONFIG, SPACES)
    (tmp_path / "runs" / "run" / "blobs" / f"{head.elite.blob.sha256}.safetensors").unlink()
    verified = verify(store, SPACES)
    study = f"sqlite:///{tmp_path}/runs/study.db"
    tracker = TrackRecorder("csv", store, CONFIG, tmp_path / "runs" / "tracking")
    shutil.move(tmp_path / "runs", tmp_path / "gone")
    works = {
        "extending": lambda: store.extend(Extension(max_steps=9999, target=None)),
        "releasing": lambda: retention.collect(store, 1),
        "forking": lambda: fork(store, RunStore(store.store, "fork"), 2, recomputer),
        "computing again": lambda: recomputer.weights(head.elite.uid, head.elite.blob),
        "recording": lambda: StudyRecorder(store, CONFIG, study),
        "tracking": lambda: tracker.catch_up(head),
    }
    for name, work in works.items():
        with pytest.raises(GoneError, match="the store is gone"):
            work()
        assert not (tmp_path / "runs").exists(), name
    ((finding, how, whole),) = repair_all(Repair(store, verified, recomputer))
    assert (finding.what, whole) == ("blob", False)
    assert "the store is gone" in how
    assert not (tmp_path / "runs").exists()


def test_a_deleted_or_replaced_bucket_counts_as_a_store_that_is_gone(s3):
    bucket = "vanishing"
    fs = s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], use_listings_cache=False)
    fs.call_s3("create_bucket", Bucket=bucket)
    run = RunRef(f"s3://{bucket}/runs", "run", CONFIG, "cpu")
    head = evolve(run)
    longer = RunRef(run.store_url, "run", fake_config(5), "cpu")
    fs.rm(f"{bucket}/runs", recursive=True)
    fs.call_s3("delete_bucket", Bucket=bucket)
    with pytest.raises(GoneError, match=r"the store is gone: s3://vanishing/runs no longer holds run/run\.json"):
        run_generation(longer, head)
    fs.call_s3("create_bucket", Bucket=bucket)
    with pytest.raises(GoneError, match="the store is gone"):
        run_generation(longer, head)
    with pytest.raises(GoneError):
        run.open().put_commit(head.model_copy(update={"generation": 4, "previous": record_hash(head)}))
    assert fs.find(bucket) == []
    fs.call_s3("delete_bucket", Bucket=bucket)
