"""Crashes before and after every write of a run, and lost replies: the resumed run has the same chain."""

import os
import random
import traceback
from contextlib import suppress

import pytest

from evo_core.records.chain import record_hash
from tasks.runs.ref import RunRef
from tasks.store import SCHEMES, UnavailableError
from tasks.store.errors import ExistsError
from tasks.store.file_backend import FileBackend
from tests.fake import evolve, fake_config, fake_trainer

CONFIG = fake_config()
DIED = 77
MODES = ("die before", "die after", "lose the reply")


class Crashing(FileBackend):
    """Numbers every write, and at one of them ends the process or loses the reply."""

    writes = 0
    at = -1
    mode = ""

    def _at_a_write(self, write, *arguments):
        Crashing.writes += 1
        if Crashing.writes - 1 != self.at:
            return write(*arguments)
        if self.mode == "die before":
            os._exit(DIED)
        with suppress(ExistsError):  # a refusal is a reply too
            write(*arguments)
        if self.mode == "die after":
            os._exit(DIED)
        raise UnavailableError("the reply was lost")

    def create(self, key, content):
        self._at_a_write(super().create, key, content)

    def delete(self, key):
        self._at_a_write(super().delete, key)


@pytest.fixture(autouse=True)
def crashing(monkeypatch, tmp_path):
    monkeypatch.setitem(SCHEMES, "crash", lambda url: Crashing(tmp_path / url.split("://")[1]))
    monkeypatch.setattr(Crashing, "writes", 0)
    with fake_trainer():
        yield


def chain(directory):
    run = RunRef(directory.as_uri(), "run", CONFIG, "cpu").open()
    return [record_hash(commit) for commit in run.commits()]


def started(work):
    """Run something in a process of its own; return its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    """Wait for a process; return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_run_that_dies_at_any_write_resumes_to_the_same_chain(tmp_path, monkeypatch):
    evolve(RunRef("crash://calm", "run", CONFIG, "cpu"), keep_generations=1)
    calm, total = chain(tmp_path / "calm"), Crashing.writes
    # the probe's 2, run.json, COMMITs 0 to 3, times; per member a blob and 2 records; a confirmation, 2 releases
    assert total >= 2 + 1 + 4 + 3 + 3 * 4 * 3 + 1 + 2 * 2
    assert len(calm) == 4
    for number in range(total):
        for mode in MODES:
            url = f"crash://{mode.replace(' ', '-')}-{number}"
            directory = tmp_path / url.split("://")[1]
            run = RunRef(url, "run", CONFIG, "cpu")
            monkeypatch.setattr(Crashing, "writes", 0)
            monkeypatch.setattr(Crashing, "mode", mode)
            monkeypatch.setattr(Crashing, "at", number)
            code = ended(started(lambda run=run: evolve(run, keep_generations=1)))
            assert code == (0 if mode == "lose the reply" else DIED), (mode, number)
            before = chain(directory)
            assert before == calm[: len(before)]
            monkeypatch.setattr(Crashing, "at", -1)
            evolve(run, random.Random(number), keep_generations=1)
            assert chain(directory) == calm, (mode, number)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_writers_that_run_beside_each_other_make_one_chain(tmp_path):
    run = RunRef((tmp_path / "together").as_uri(), "run", CONFIG, "cpu")
    writers = [started(lambda seed=seed: evolve(run, random.Random(seed))) for seed in range(4)]
    assert [ended(writer) for writer in writers] == [0] * 4
    evolve(RunRef((tmp_path / "alone").as_uri(), "run", CONFIG, "cpu"))
    assert chain(tmp_path / "together") == chain(tmp_path / "alone")
