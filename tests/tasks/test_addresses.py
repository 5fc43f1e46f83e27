"""Addresses: each has one meaning; ambiguous ones are refused with what to write instead."""

import pytest
from optuna.study import StudyDirection

from flows.cli.session import read_settings
from flows.settings import BadInput, Settings
from tasks.store import open_store
from tasks.store.addresses import AddressError, is_relative, parse_store, parse_study
from tasks.views.study import open_storage


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("EVOLVE_STORE", "EVOLVE_STUDY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("runs", "file://{here}/runs"),
        ("./runs/", "file://{here}/runs"),
        ("/data//runs", "file:///data/runs"),
        ("//data/runs", "file:///data/runs"),
        ("~/runs", "file:///home/somebody/runs"),
        ("./~/runs", "file://{here}/~/runs"),
        ("./a:b", "file://{here}/a%3Ab"),
        ("my runs", "file://{here}/my%20runs"),
        ("file:///data/my%20runs", "file:///data/my%20runs"),
        ("FILE://localhost/data", "file:///data"),
        ("s3://bucket/runs/", "s3://bucket/runs"),
        ("S3://bucket", "s3://bucket"),
        ("s3://bucket/My runs", "s3://bucket/My runs"),
    ],
)
def test_a_store_means_one_thing(given, meant, tmp_path):
    assert Settings(store=given).store_url == meant.format(here=tmp_path)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("", "expected a directory, file:///path or s3://bucket/prefix"),
        (" runs", "without spaces at its ends"),
        ("runs\0x", r"without control characters, got 'runs\\x00x'"),
        ("file:///runs%00", "control characters"),
        ("file://tmp/x", "write file:///tmp/x, or tmp/x for a directory below this one"),
        ("file://./runs", "three slashes, got 'file://./runs'; write ./runs"),
        ("file://~/runs", "write ~/runs"),
        ("file:///~/runs", "plain path, such as ~/runs"),
        ("file:/tmp/x", "file:///path"),
        ("file:///a#b", "write %3F and %23"),
        ("a?b", r"expected a path without \?"),
        ("s3:/bucket/x", "expected a path, or s3://bucket/prefix or file:///path, got 's3:/bucket/x'"),
        ("C:/runs", "a path with a colon begins with ./"),
        ("s3:///bucket/x", "the name of a bucket after s3://"),
        ("s3://bucket//x", "without //"),
        ("s3://bucket/../x", "without //, . and .."),
        ("s3://bucket/a%20b", "take them literally"),
        ("s3://localhost:9000/bucket", "set AWS_ENDPOINT_URL_S3"),
        ("s3://user:pass/word@bucket/x", "without credentials, got .*set AWS_ACCESS_KEY_ID"),
        ("s3:/user:pass/word@bucket/x", "expected a path"),
        ("user:pass/word@host:/x", "expected a path"),
        ("file://user:pass/word@host/x", "three slashes"),
        ("ftp://user:pass/word@host/x", "begins with file:// or s3://"),
        ("ftp://host/x?token=pass/word", "begins with file:// or s3://"),
        ("$HOME/runs", "a variable was not replaced"),
        ("${HOME}/runs", "a variable was not replaced"),
        ("~nobody-of-this-name/runs", "there is no such user"),
    ],
)
def test_an_ambiguous_store_is_refused_without_showing_its_password(given, advice):
    with pytest.raises(AddressError, match=advice) as caught:
        parse_store(given)
    assert "pass" not in str(caught.value).replace("password", "")
    with pytest.raises(BadInput, match="--store: expected") as refused:
        read_settings({"store": given})
    assert "pass" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("study.db", "sqlite:///{here}/study.db"),
        ("~/study.db", "sqlite:////home/somebody/study.db"),
        ("sqlite:///lineage/study.db", "sqlite:///{here}/lineage/study.db"),
        ("SQLite:////data/study.db", "sqlite:////data/study.db"),
        ("sqlite:///~/study.db", "sqlite:////home/somebody/study.db"),
        ("sqlite:////data/study.db?timeout=9", "sqlite:////data/study.db?timeout=9"),
        ("journal:////data/j", "journal:////data/j"),
        ("journal:///data/j", "journal:////data/j"),
        ("journal:///./j", "journal:///{here}/j"),
        ("journal:///~/j", "journal:////home/somebody/j"),
        ("postgresql+psycopg2://me:pw@host/optuna", "postgresql+psycopg2://me:pw@host/optuna"),
        ("PostgreSQL://host/Optuna", "postgresql://host/Optuna"),
    ],
)
def test_a_study_means_one_thing(given, meant, tmp_path):
    assert Settings(study=given).study_url == meant.format(here=tmp_path)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("sqlite://", "a database in memory is lost"),
        ("sqlite:///:memory:", "a database in memory is lost"),
        ("sqlite:///tmp/x.db", "could mean /tmp/x.db or ./tmp/x.db; write sqlite:////tmp/x.db or sqlite:///./tmp/x.db"),
        ("sqlite://tmp/x.db", "expected sqlite:////path"),
        ("journal://tmp/j", "expected journal:////path"),
        ("journal:///below/j", "could mean /below/j or ./below/j"),
        ("sqlite:/x.db", "expected a path, or sqlite:////path"),
        ("below", "which is a directory; add a file name"),
        ("sqlite:///below", "which is a directory"),
        ("postgres://me:secret-word@host/x", "expected postgresql://"),
        ("http://me:secret-word@host/x", "begins with one of sqlite, postgresql"),
        ("mysql://me:secret-word@host:port/x", "expected a database URL"),
        ("postgresql://host/x\0", "control characters"),
        ("$DATABASE_URL", "a variable was not replaced"),
    ],
)
def test_an_ambiguous_study_is_refused_without_showing_its_password(given, advice, tmp_path):
    (tmp_path / "below").mkdir()
    with pytest.raises(AddressError, match=advice):
        parse_study(given)
    with pytest.raises(BadInput, match="--study: ") as refused:
        read_settings({"study": given})
    assert "secret-word" not in str(refused.value)


def test_an_address_that_is_relative_is_known_as_such():
    relative = ["runs", "./runs", "study.db", "sqlite:///study.db", "journal:///./j"]
    whole = [
        "/runs",
        "~/runs",
        "file:///runs",
        "s3://b",
        "sqlite:////x",
        "sqlite:///~/x",
        "journal:///x",
        "mysql://h/x",
    ]
    assert [given for given in relative + whole if is_relative(given)] == relative


def test_stores_and_databases_are_opened_at_their_address(tmp_path):
    assert open_store((tmp_path / "a b").as_uri()).url == (tmp_path / "a b").as_uri()
    for url in ("file://tmp/x", "s3://user:pw@bucket/x"):
        with pytest.raises(AddressError):
            open_store(url)
    with pytest.raises(KeyError, match="there is no database"):
        open_storage(Settings(study="journal:///./new/study.journal").study_url)
    open_storage(Settings(study="journal:///./new/study.journal").study_url, make=True).create_new_study(
        [StudyDirection.MAXIMIZE]
    )
    assert (tmp_path / "new" / "study.journal").exists()


def test_an_engine_url_with_a_password_is_refused_without_showing_it():
    with pytest.raises(BadInput, match="--engine: expected local") as refused:
        read_settings({"engine": "http://me:secret-word@host:1"})
    assert "secret-word" not in str(refused.value)
