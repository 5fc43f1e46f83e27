"""Messages of exceptions in environments are stored outside of the hashed records, and shown to users."""

import io
import json

import gymnasium as gym
import pytest
from rich.console import Console

from evo_core.records.chain import Member, record_hash
from evo_core.records.failures import GenerationFailed
from flows.cli.ending import ExitReport
from flows.cli.lineage import show_lineage
from flows.cli.status import status
from flows.generation import _require_survivors, _store_failure
from flows.observers.failure_list import Failures
from flows.observers.terminal import LineObserver
from flows.settings import Settings
from flows.views.leaderboard import leaderboard
from tasks.generation_tasks import create_first_population, select_and_mutate
from tasks.runs.failed_members import details
from tasks.runs.ref import RunRef
from tasks.store import CorruptError
from tasks.views.study import StudyRecorder
from tests.conftest import make_config
from tests.fake import run_member
from tests.probes import Probe

SECRET = "wJalrXUtnFEMI"
SAID = "RuntimeError: the arm hit the table, sent with ***, password=***"


class Arm(Probe):
    """Breaks rarely; its message holds credentials."""

    rare = 0.0015

    def outcome(self, action):
        if self.time > 5 and self.np_random.random() < self.rare:
            raise RuntimeError(f"the arm hit the table, sent with {SECRET}, password=hunter2")
        return float(action), self.time >= 20


class BrokenArm(Arm):
    rare = 1.0


@pytest.fixture(scope="module", autouse=True)
def _environments():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBOT_TOKEN", SECRET)
        gym.register("Words/Arm-v0", entry_point=Arm, max_episode_steps=50)
        gym.register("Words/BrokenArm-v0", entry_point=BrokenArm, max_episode_steps=50)
        yield
        for name in ("Words/Arm-v0", "Words/BrokenArm-v0"):
            del gym.registry[name]


def begin(directory, env):
    """Begin a run and run its first three members; return the run, COMMIT 0 and the results."""
    config = make_config(env, **{"population.min_survivors": 1, "training.max_steps": 1536, "seed": 3})
    ref = RunRef(directory.as_uri(), "arm", config, "cpu")
    ref.open().create_run(config)
    first = create_first_population.fn(ref, ref.environment().spaces)
    return ref, first, [run_member(ref, 1, index) for index in range(3)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one generation, in which some members failed, as flows/generation.py writes it down."""
    ref, first, results = begin(tmp_path_factory.mktemp("runs"), "Words/Arm-v0")
    failed = [result for result in results if result.member.failure is not None]
    assert 0 < len(failed) < 3
    for result in failed:
        _store_failure(ref, result)
    return ref, select_and_mutate.fn(ref, first, results), failed[0]


def test_a_failure_detail_is_stored_beside_the_record_and_changes_no_hash(run):
    ref, commit, failed = run
    member, store = failed.member, ref.open()
    name = f"gen/000001/m/{member.offspring.index:04d}.json"
    content = store.store.read(store.key(name), bytes)
    stored = json.loads(content)
    assert stored["detail"]["error"] == "RuntimeError"
    assert stored["detail"]["message"] == SAID.removeprefix("RuntimeError: ")
    assert stored["sha256"] == record_hash(member)
    assert b"the arm" not in json.dumps(stored["record"]).encode()
    assert (SECRET.encode() in content, b"hunter2" in content) == (False, False)
    assert store.get(name, Member) == member
    assert "the arm" not in commit.model_dump_json()
    assert details(store, commit.members)[member.uid] == failed.detail
    store.store.replace(store.key(name), content.replace(b"the arm hit", b"an arm hits"))
    try:
        with pytest.raises(CorruptError):
            store.get(name, Member)
    finally:
        store.store.replace(store.key(name), content)


def test_the_leaderboard_and_the_study_show_the_failure_detail(run, tmp_path):
    ref, commit, failed = run
    uid = failed.member.uid
    (row,) = [row for row in leaderboard(commit, details(ref.open(), commit.members)) if row["member"] == uid]
    assert f"failed: environment_error at step {failed.member.failure.step}: {SAID} (step " in row["status"]
    assert "test_failure_details.py:" in row["status"]
    recorder = StudyRecorder(ref.open(), ref.config, f"sqlite:///{tmp_path / 'study.db'}")
    recorder.catch_up(commit)
    (trial,) = [trial for trial in recorder._study.trials if trial.user_attrs["uid"] == uid]
    assert trial.user_attrs["failure_detail"].startswith(f"{SAID} (step ")
    assert "test_failure_details.py:" in trial.user_attrs["failure_detail"]


def test_status_shows_the_failure_detail(run, here, capsys):
    ref, _, failed = run
    status("arm", store=ref.store_url, json=False)
    shown = capsys.readouterr().out
    assert f"{failed.member.uid} failed: environment_error at step {failed.member.failure.step}: {SAID} (step" in shown
    assert 'raise RuntimeError(f"the arm hit' in shown
    status("arm", store=ref.store_url, json=True)
    found = {failure["uid"]: failure for failure in json.loads(capsys.readouterr().out)["failures"]}
    assert found[failed.member.uid]["detail"]["error"] == "RuntimeError"


def test_a_generation_that_fails_quotes_it_and_status_knows_the_attempt(here, capsys):
    ref, _, results = begin(here / "runs", "Words/BrokenArm-v0")
    with pytest.raises(GenerationFailed, match="g0001/m00: RuntimeError: the arm hit the table") as caught:
        _require_survivors(ref, 1, results)
    assert SECRET not in str(caught.value)
    assert ref.open().member(1, 0) is None  # not written off: the next attempt runs it again
    status("arm", store=ref.store_url, json=False)
    shown = capsys.readouterr().out
    assert f"last attempt at it: g0001/m02 failed: environment_error at step 20: {SAID} (step 20 of" in shown
    assert shown.count('raise RuntimeError(f"the arm hit') == 1
    status("arm", store=ref.store_url, json=True)
    assert len(json.loads(capsys.readouterr().out)["last_failed_attempt"]) == 3


def test_the_terminal_and_json_show_the_failure_detail_with_one_traceback(run, tmp_path):
    _, _, failed = run
    member, out, kept = failed.member, io.StringIO(), Failures()
    observer = LineObserver(Console(file=out, width=80), make_config())
    for each in (observer, kept):
        each.evaluated(member, failed.detail)
        each.evaluated(member.model_copy(), failed.detail)
    assert out.getvalue().count(f"{member.uid} failed: environment_error") == 2
    assert out.getvalue().count(f": {SAID} (step ") == 2
    assert out.getvalue().count("test_failure_details.py:") == 1
    settings = Settings(store=str(tmp_path))
    report = ExitReport("arm", make_config(), settings, None, GenerationFailed("no"), 1.0, kept.as_dicts())
    assert report.as_json()["failures"][0] == {
        "uid": member.uid,
        "reason": "environment_error",
        "step": member.failure.step,
        "detail": failed.detail.model_dump(mode="json"),
    }


def test_lineage_shows_the_failure_detail(run, here, capsys):
    ref, _, failed = run
    uid, store = failed.member.uid, ref.store_url
    show_lineage("arm", store=store, everyone=True)
    said = f"failed: environment_error at step {failed.member.failure.step}: {SAID}"
    assert said in " ".join(capsys.readouterr().out.split())
    show_lineage("arm", uid, store=store, json=True)
    assert f"It {said}." in json.loads(capsys.readouterr().out)["story"]
