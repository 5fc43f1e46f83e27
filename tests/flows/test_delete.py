"""evolve delete: a run and its study are deleted unless it is running; an interrupted deletion can be repeated."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import optuna
import pytest
from optuna.study import get_all_study_names

from flows.cli import app as cli
from tasks.runs.deletion import begin_deletion
from tasks.runs.presence import hold_run, is_being_worked_on
from tasks.runs.run_store import RunStore
from tasks.store import DeniedError, open_store
from tasks.store.file_backend import FileBackend
from tasks.views.study import open_storage, rebuild_study
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_confirmations, store_lineage
from tests.services import BUCKET

CONFIG = make_lineage_config(4, 3)
COMMITS = make_commits(CONFIG, learns_by_lr_and_gamma)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with two runs, one unfinished, and their studies."""
    directory = tmp_path_factory.mktemp("made") / "runs"
    opened = make_store(directory.as_uri())
    for run_id in ("one", "other"):
        rebuild_study(RunStore(opened, run_id), CONFIG, f"sqlite:///{directory}/study.db")
    return directory


@pytest.fixture
def store(made, tmp_path, monkeypatch):
    """A copy of this store, below the working directory."""
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    with patch.dict(os.environ):
        yield open_store((tmp_path / "runs").as_uri())


def make_store(url):
    store_lineage(url, "one", CONFIG, COMMITS)
    store_confirmations(url, "one", COMMITS)
    store_lineage(url, "other", CONFIG, COMMITS[:2])
    return open_store(url)


def studies():
    return get_all_study_names(open_storage(f"sqlite:///{Path.cwd()}/runs/study.db"))


def delete(run_id, *arguments, expect=0):
    assert cli._main(["delete", run_id, "--yes", *arguments]) == expect


def test_a_run_is_deleted_with_its_study_and_nothing_else(store, capfd):
    others = store.keys("other")
    assert len(others) == 5
    delete("one", "--json")
    told = json.loads(capfd.readouterr().out)
    assert told["keys"] >= 10 and told["study"].endswith("study.db") and told["warning"] is None
    assert not Path("runs/one").exists()
    assert store.keys("other") == others
    assert studies() == ["other"]
    delete("one", expect=2)
    assert "run one is not in" in capfd.readouterr().err


def test_a_running_run_is_not_deleted(store, capfd):
    run = RunStore(store, "other")
    program = (
        "import sys, time; from tasks.runs.presence import hold_run; from tasks.runs.run_store import RunStore\n"
        "from tasks.store import open_store\n"
        "with hold_run(RunStore(open_store(sys.argv[1]), 'other')): print('here', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, store.url], stdout=subprocess.PIPE) as worker:
        assert worker.stdout.readline() == b"here\n"
        before = store.keys("other")
        delete("other", expect=2)
        assert "run other is running; end it first" in capfd.readouterr().err
        assert store.keys("other") == before
        with hold_run(run):  # several processes may
            worker.kill()
            worker.wait()
            assert is_being_worked_on(run)
    assert not is_being_worked_on(run)  # the lock goes with its processes
    delete("other")


@pytest.mark.parametrize("survived", [0, 1, 8])
def test_an_interrupted_deletion_is_recognized_and_repeated(store, capfd, monkeypatch, survived):
    class Killed(BaseException):
        pass

    deleted, delete_one = [], FileBackend.delete

    def dying(backend, key):
        if "deleting" not in key and len(deleted) == survived:
            raise Killed
        deleted.append(key) if "deleting" not in key else None
        delete_one(backend, key)

    monkeypatch.setattr(FileBackend, "delete", dying)
    with pytest.raises(Killed):
        delete("one")
    monkeypatch.undo()
    monkeypatch.chdir(Path(store.backend.root).parent)
    capfd.readouterr()
    if survived:  # run.json goes first: nothing can go on with what is left
        assert cli._main(["resume", "one"]) == 2
        assert (
            "run one was being deleted, which was interrupted; finish it: evolve delete one" in capfd.readouterr().err
        )
        assert cli._main(["status"]) == 0
        assert "half deleted" in capfd.readouterr().out
        assert cli._main(["run", "--config", _config(), "--run-id", "one"]) == 2
        assert "was being deleted" in capfd.readouterr().err
    delete("one")
    assert not Path("runs/one").exists() and studies() == ["other"]


def _config():
    import yaml

    Path("config.yaml").write_text(yaml.safe_dump(CONFIG.model_dump(mode="json")))
    return "config.yaml"


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("no\n", 1), (None, 2)])
def test_deletion_asks_for_confirmation(store, capfd, monkeypatch, answer, code):
    class Terminal:
        def isatty(self):
            return answer is not None

        def readline(self):
            return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert cli._main(["delete", "one", "--store", "runs"]) == code
    assert Path("runs/one").exists() == bool(code)
    said = capfd.readouterr().err
    assert "evolve delete one --yes" in said if answer is None else "delete one (3 generations)" in said


def test_a_study_that_cannot_be_deleted_is_a_warning_and_exit_code_3(store, capfd):
    delete("one", "--study", "sqlite:////proc/no/study.db")  # there is none: nothing to warn of
    url = "postgresql+psycopg2://nobody@127.0.0.1:9/optuna"
    delete("other", "--study", url, expect=3)
    assert f"its study in {url} could not be deleted" in capfd.readouterr().err
    assert not Path("runs/other").exists() and set(studies()) == {"one", "other"}


def test_deleting_leaves_the_study_of_another_run_of_that_name(store):
    storage = open_storage(f"sqlite:///{Path.cwd()}/runs/study.db")
    optuna.load_study(study_name="one", storage=storage).set_user_attr("founders", "others")
    delete("one", expect=3)
    assert "one" in studies()


def test_on_s3_a_run_that_is_not_finished_must_have_been_quiet(s3, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"s3://{BUCKET}/{tmp_path.name}"
    with patch.dict(os.environ):
        store = make_store(url)
        delete("one", "--store", url)  # finished: nobody works on it
        delete("other", "--store", url, expect=2)
        assert "on S3" in capfd.readouterr().err.replace("On S3", "on S3")
        monkeypatch.setattr("tasks.runs.presence._patience_s", lambda run: 0.0)
        delete("other", "--store", url)
        assert store.keys("other") == store.keys("one") == []


def test_credentials_without_the_right_to_delete_change_nothing(store, monkeypatch):
    def denied(backend, key):
        raise DeniedError(key)

    run, before = RunStore(store, "one"), store.keys("one")
    monkeypatch.setattr(FileBackend, "delete", denied)
    with pytest.raises(DeniedError):
        begin_deletion(run)
    assert store.keys("one") == before
