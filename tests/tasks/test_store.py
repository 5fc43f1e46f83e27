"""One contract for every store: in memory, on a real file system, and on a real S3 server."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.store import ConflictError, CorruptError, DeniedError, MissingError, UnavailableError, open_store
from tasks.store.store import PROBE_KEY
from tests.services import BUCKET


@pytest.fixture(params=["memory", "file", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3")
    place = {"memory": f"memory://{tmp_path}", "file": tmp_path.as_uri(), "s3": f"s3://{BUCKET}/{tmp_path.name}"}
    store = open_store(place[request.param])
    for name in ("", "a", "runs", "run"):
        store.prepare(name)
        store.prepare(name)
    return store


def test_a_created_key_can_be_read(store):
    store.create("a/b/c.json", b"content")
    assert store.read("a/b/c.json", bytes) == b"content"
    assert store.read("a/b/c.json", len) == 7
    assert store.exists("a/b/c.json")


def test_a_missing_key_is_missing(store):
    assert not store.exists("a/nothing")
    with pytest.raises(MissingError, match="a/nothing does not exist; check"):
        store.read("a/nothing", bytes)
    with pytest.raises(MissingError):
        store.read("a/nothing", bytes, expected=True)
    with pytest.raises(MissingError):
        store.age_s("a/nothing")


def test_the_same_content_is_adopted(store):
    store.create("key", b"same")
    store.create("key", b"same")
    assert store.read("key", bytes) == b"same"


def test_other_content_is_a_conflict_that_names_both_hashes_and_overwrites_nothing(store):
    store.create("key", b"first")
    with pytest.raises(ConflictError) as caught:
        store.create("key", b"second")
    assert "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e" in str(caught.value)
    assert "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4" in str(caught.value)
    assert store.read("key", bytes) == b"first"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.slow
def test_of_sixteen_concurrent_writers_exactly_one_creates_a_commit(store):
    def write(race, i, barrier):
        barrier.wait()
        try:
            store.create(f"run/gen/{race:06d}/COMMIT.json", bytes([i]) * 1000)
        except ConflictError:
            return None
        return race, i

    with ThreadPoolExecutor(160) as pool:
        for first in range(0, 100, 10):  # ten races side by side, all of their writers let go together
            barrier = threading.Barrier(160)
            writers = [pool.submit(write, race, i, barrier) for race in range(first, first + 10) for i in range(16)]
            winners = [won for writer in writers if (won := writer.result()) is not None]
            assert sorted(race for race, _ in winners) == list(range(first, first + 10))
            for race, i in winners:
                assert store.read(f"run/gen/{race:06d}/COMMIT.json", bytes) == bytes([i]) * 1000


def test_large_and_empty_content_is_kept(store):
    large = os.urandom(12_000_000)
    store.create("large", large)
    store.create("empty", b"")
    assert store.read("large", bytes) == large
    assert store.read("empty", bytes) == b""
    with pytest.raises(ConflictError):
        store.create("empty", b"not")


def test_children_are_listed(store):
    for key in ("runs/b/x", "runs/a/x", "runs/a/y"):
        store.create(key, b"x")
    assert store.children("runs") == ["a", "b"]
    assert store.children("nothing") == []
    assert "runs" in store.children()


def test_a_deleted_key_is_gone_and_can_be_created_again(store):
    store.create("key", b"damaged")
    store.replace("key", b"whole")
    assert store.read("key", bytes) == b"whole"
    store.delete("key")
    store.delete("key")
    assert not store.exists("key")
    store.create("key", b"again")
    assert store.read("key", bytes) == b"again"


def test_age_is_measured_by_the_stores_own_clock(store):
    store.create("key", b"x")
    assert -2 < store.age_s("key") < 60


def test_the_probe_accepts_a_store_that_creates_once_and_leaves_one_small_object(store):
    store.probe()
    store.probe()
    assert store.read(PROBE_KEY, bytes) == b"evolve\n"


def test_content_damaged_in_transit_is_read_again(store):
    store.create("key", b"x")
    seen = []

    def damaged_twice(content):
        seen.append(content)
        if len(seen) < 3:
            raise CorruptError("damaged")
        return content

    assert store.read("key", damaged_twice) == b"x"
    seen.clear()
    with pytest.raises(CorruptError):
        store.read("key", lambda content: damaged_twice(seen.clear() or content))


def test_a_directory_is_not_a_key(tmp_path):
    store = open_store(tmp_path.as_uri())
    store.prepare("dir")
    store.create("dir/key", b"x")
    os.mkfifo(tmp_path / "pipe")
    for key in ("dir", "pipe"):
        assert store.exists(key)
        with pytest.raises(CorruptError, match="expected a file, found a directory or device in its place; move it"):
            store.read(key, bytes)
        with pytest.raises(CorruptError, match="expected a file"):
            store.create(key, b"x")
    for write in (lambda: store.replace("dir", b"x"), lambda: store.delete("dir")):
        with pytest.raises(CorruptError, match="expected a file"):
            write()
    assert (tmp_path / "dir" / "key").read_bytes() == b"x"


def test_nothing_but_preparing_makes_a_stores_directory_or_a_runs(tmp_path):
    store = open_store((tmp_path / "new" / "runs").as_uri())
    writes = [
        lambda: store.create("key", b"x"),
        lambda: store.create("run/gen/key", b"x"),
        lambda: store.replace("run/gen/key", b"x"),
        store.probe,
    ]
    for write in writes:
        with pytest.raises(MissingError):
            write()
    assert os.listdir(tmp_path) == []
    store.prepare("run")
    for write in writes:
        write()
    os.rename(tmp_path / "new" / "runs" / "run", tmp_path / "gone")
    for write in writes[1:3]:
        with pytest.raises(MissingError):
            write()
    assert sorted(os.listdir(tmp_path / "new" / "runs")) == [PROBE_KEY, "key"]


def test_files_leave_no_temporary_names_behind(tmp_path):
    store = open_store(tmp_path.as_uri())
    store.create("key", b"x")
    with pytest.raises(ConflictError):
        store.create("key", b"y")
    store.replace("key", b"z")
    assert os.listdir(tmp_path) == ["key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o644


def test_a_directory_that_cannot_be_made_is_an_error_with_advice(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = open_store((tmp_path / "file").as_uri())
    for place in ("", "run"):
        with pytest.raises(DeniedError, match="use another --store"):
            store.prepare(place)
    with pytest.raises(DeniedError, match="use another --store"):
        store.create("run/key", b"x")
    assert (tmp_path / "file").read_text() == "in the way"


def test_paths_with_spaces_are_urls_too(tmp_path):
    store = open_store((tmp_path / "my runs").as_uri())
    store.prepare("")
    store.create("key", b"x")
    assert (tmp_path / "my runs" / "key").read_bytes() == b"x"


def test_wrong_credentials_are_denied_with_advice(s3, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DeniedError, match=r"access denied .* AWS_SECRET_ACCESS_KEY"):
        open_store(f"s3://{BUCKET}/denied").create("key", b"x")
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_unreachable_server_is_reported_with_advice(monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UnavailableError, match="AWS_ENDPOINT_URL_S3"):
        open_store("s3://bucket/prefix", patience_s=1).read("key", bytes)
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="begins with file:// or s3://"):
        open_store("ftp://host/path")


def test_the_proxy_is_bypassed_for_a_store_on_this_machine(s3, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing answers there
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", patience_s=1)
    store.create("key", b"content")
    assert store.read("key", bytes) == b"content"
