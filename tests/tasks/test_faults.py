"""A real S3 server behind a proxy with faults: what is retried, what is refused, and for how long."""

import random
import threading
import time

import pytest

from evo_core.records.canonical import sha256
from evo_core.records.chain import record_hash
from tasks.runs.ref import RunRef
from tasks.store import CorruptError, DeniedError, MissingError, Store, UnavailableError, UnsafeError, open_store
from tests.fake import evolve, fake_config, fake_trainer
from tests.proxy import at_random, fault_proxy
from tests.services import BUCKET

TRANSIENT = ("500", "503", "507", "truncate", "flip", "lost reply")


@pytest.fixture
def proxy(s3, monkeypatch):
    import s3fs

    with fault_proxy(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def store(proxy, tmp_path) -> Store:
    return open_store(f"s3://{BUCKET}/{tmp_path.name}")


def once(fault, method=None):
    """Inject a fault into the first request (of a method)."""
    left = [fault]
    return lambda request: left.pop() if left and method in (None, request.method) else None


def whole(digest):
    """Check content as every reader does."""

    def check(content):
        if sha256(content) != digest:
            raise CorruptError("damaged on the way")
        return content

    return check


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_single_fault_is_retried_in_every_operation(proxy, store, fault):
    content = random.Random(1).randbytes(50_000)
    proxy.choose = once(fault)
    store.create("key", content)
    proxy.choose = once(fault)
    assert store.read("key", whole(sha256(content))) == content
    proxy.choose = once(fault)
    assert store.exists("key")
    proxy.choose = once(fault)
    assert store.children() == ["key"]
    proxy.choose = once(fault)
    store.create("key", content)
    assert proxy.broken[fault] >= 3


def test_a_missing_key_is_read_again_where_it_must_exist(proxy, store):
    store.create("key", b"x")
    proxy.choose = once("404")
    assert store.read("key", bytes, expected=True) == b"x"
    proxy.choose = once("404")
    with pytest.raises(MissingError):
        store.read("key", bytes)


def test_a_service_that_hangs_is_given_up_in_time(proxy, store, monkeypatch):
    monkeypatch.setattr("tasks.store.s3_backend.ATTEMPT_S", 2.0)
    monkeypatch.setattr("tasks.store.store.ATTEMPT_S", 2.0)
    proxy.choose = once("hang")
    began = time.monotonic()
    store.create("key", b"x")
    assert 1.5 < time.monotonic() - began < 10
    proxy.choose = lambda request: "hang"
    impatient = Store(store.backend, patience_s=5)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="AWS_ENDPOINT_URL_S3"):
        impatient.read("key", bytes)
    assert time.monotonic() - began < 8


def test_denied_access_is_reported_soon(proxy, store):
    proxy.choose = lambda request: "403"
    began = time.monotonic()
    with pytest.raises(DeniedError, match="access denied"):
        store.create("key", b"x")
    assert time.monotonic() - began < 30


def test_a_store_that_lets_a_key_be_created_twice_is_refused(proxy, store):
    store.probe()
    proxy.choose = lambda request: "accept twice"
    with pytest.raises(UnsafeError, match="two writers could both commit"):
        store.probe()


@pytest.mark.parametrize("fault", ["503", "507", "500"])
def test_a_burst_of_faults_is_retried(proxy, store, fault):
    heals = threading.Timer(6, lambda: setattr(proxy, "choose", lambda request: None))
    proxy.choose = lambda request: fault
    heals.start()
    store.create("key", b"x")
    assert store.read("key", bytes) == b"x"
    assert proxy.broken[fault] >= 3


@pytest.mark.slow
def test_faults_for_a_minute_are_retried(proxy, store):
    heals = threading.Timer(60, lambda: setattr(proxy, "choose", lambda request: None))
    proxy.choose = lambda request: "503"
    heals.start()
    began = time.monotonic()
    store.create("key", b"x")
    assert 55 < time.monotonic() - began < 80


def test_a_run_with_a_tenth_of_its_requests_broken_has_the_same_chain(proxy, tmp_path):
    with fake_trainer():
        calm = RunRef(f"memory://{tmp_path}", "run", fake_config(6), "cpu")
        evolve(calm)
        proxy.choose = at_random(0.1, 0, (*TRANSIENT, "403", "404"))
        run = RunRef(f"s3://{BUCKET}/{tmp_path.name}", "run", fake_config(6), "cpu")
        evolve(run)
        proxy.choose = lambda request: None
    assert sum(proxy.broken.values()) >= 10
    chains = [[record_hash(commit) for commit in ref.open().commits()] for ref in (run, calm)]
    assert chains[0] == chains[1]
