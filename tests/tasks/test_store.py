"""One contract for every store, on a real file system and a real S3 server."""

import os
import pickle
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.store import ConflictError, DeniedError, MissingError, UnavailableError, open_store
from tests.services import BUCKET, s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("weed")) as server:
        before = {name: os.environ.get(name) for name in server.environment}
        os.environ.update(server.environment)
        yield server
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return open_store(tmp_path.as_uri())
    request.getfixturevalue("s3")
    return open_store(f"s3://{BUCKET}/{tmp_path.name}")


def test_what_is_created_is_read(store):
    store.create("a/b/c.json", b"content")
    assert store.read("a/b/c.json") == b"content"
    assert store.exists("a/b/c.json")


def test_a_missing_key_is_missing(store):
    assert not store.exists("a/nothing")
    with pytest.raises(MissingError, match="a/nothing does not exist; check"):
        store.read("a/nothing")


def test_the_same_content_is_adopted(store):
    store.create("key", b"same")
    store.create("key", b"same")
    assert store.read("key") == b"same"


def test_other_content_is_a_conflict_that_names_both_hashes_and_overwrites_nothing(store):
    store.create("key", b"first")
    with pytest.raises(ConflictError) as caught:
        store.create("key", b"second")
    assert "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e" in str(caught.value)
    assert "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4" in str(caught.value)
    assert store.read("key") == b"first"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_of_many_writers_exactly_one_wins(store):
    barrier = threading.Barrier(8)

    def write(i):
        barrier.wait()
        try:
            store.create("race", bytes([i]) * 1000)
        except ConflictError:
            return None
        return i

    with ThreadPoolExecutor(8) as pool:
        winners = [i for i in pool.map(write, range(8)) if i is not None]
    assert len(winners) == 1
    assert store.read("race") == bytes(winners) * 1000


def test_large_and_empty_content_is_kept(store):
    large = os.urandom(12_000_000)
    store.create("large", large)
    store.create("empty", b"")
    assert store.read("large") == large
    assert store.read("empty") == b""
    with pytest.raises(ConflictError):
        store.create("empty", b"not")


def test_children_are_listed(store):
    for key in ("runs/b/x", "runs/a/x", "runs/a/y"):
        store.create(key, b"x")
    assert store.children("runs") == ["a", "b"]
    assert store.children("nothing") == []


def test_a_directory_is_not_a_key(store):
    store.create("dir/key", b"x")
    with pytest.raises((MissingError, UnavailableError)):
        store.read("dir")


def test_files_leave_no_temporary_names_behind(tmp_path):
    store = open_store(tmp_path.as_uri())
    store.create("key", b"x")
    with pytest.raises(ConflictError):
        store.create("key", b"y")
    assert os.listdir(tmp_path) == ["key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o644


def test_a_directory_that_cannot_be_made_is_an_error_with_advice(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = open_store((tmp_path / "file").as_uri())
    with pytest.raises((UnavailableError, ConflictError, DeniedError), match=r"resume|permission"):
        store.create("run/key", b"x")
    assert stat.S_ISREG(os.stat(tmp_path / "file").st_mode)


def test_paths_with_spaces_are_urls_too(tmp_path):
    store = open_store((tmp_path / "my runs").as_uri())
    store.create("key", b"x")
    assert (tmp_path / "my runs" / "key").read_bytes() == b"x"


def test_wrong_credentials_are_denied_with_advice(s3, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DeniedError, match=r"access denied .* AWS_SECRET_ACCESS_KEY"):
        open_store(f"s3://{BUCKET}/denied").create("key", b"x")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_server_that_is_away_is_unavailable_with_advice(monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UnavailableError, match="AWS_ENDPOINT_URL_S3"):
        open_store("s3://bucket/prefix").read("key")
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="begins with file:// or s3://"):
        open_store("ftp://host/path")
