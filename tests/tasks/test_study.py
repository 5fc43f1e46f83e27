"""The study catches up with the store, and never mixes runs."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import optuna
import pytest
from sqlalchemy import create_engine, text

from evo_core.local import train_on_policy
from flows.views.sync import ViewSync
from tasks.generation_tasks import record_view
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Timing, Timings
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.study import ForeignStudy, StudyRecorder, distributions, rebuild_study
from tests.conftest import make_config
from tests.lineages import store_run
from tests.services import wait_for

CONFIG = make_config(
    **{
        "search.gamma": {"min": 0.9, "max": 0.999, "scale": "log1m"},
        "search.ent_coef": {"min": 0.0, "max": 0.1},
        "training.max_steps": 2304,
    }
)


@pytest.fixture(scope="module")
def commits():
    return train_on_policy(CONFIG).commits


def stored(directory, commits, config=CONFIG):
    return store_run(directory.as_uri(), "run", config, commits)


def study_url(tmp_path):
    return f"sqlite:///{tmp_path}/new/study.db"


def uids(tmp_path):
    return [t.user_attrs["uid"] for t in optuna.load_study(study_name="run", storage=study_url(tmp_path)).trials]


def sync(run, url):
    return ViewSync("the study", lambda: StudyRecorder(run.open(), run.config, url), record_view)


def close(view):
    view.end()
    view.wait()


def recorded(tmp_path):
    """Count trials without disturbing their writers."""
    try:
        with closing(sqlite3.connect(f"file:{tmp_path}/new/study.db?mode=ro", uri=True)) as database:
            return database.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0]
    except sqlite3.OperationalError:  # neither file nor table are there yet
        return 0


def test_a_recorder_adds_what_is_missing_and_nothing_twice(tmp_path, commits):
    run = stored(tmp_path, commits)
    first = StudyRecorder(run, CONFIG, study_url(tmp_path))
    assert first.catch_up(commits[1]) == 3
    assert first.catch_up(commits[1]) == 0
    later = StudyRecorder(run, CONFIG, study_url(tmp_path))
    assert later.catch_up(commits[3]) == 6
    assert sorted(uids(tmp_path)) == sorted(m.uid for commit in commits for m in commit.members)


def test_two_recorders_of_one_run_add_nothing_twice(tmp_path, commits):
    run = stored(tmp_path, commits)
    first, second = (StudyRecorder(run, CONFIG, study_url(tmp_path)) for _ in range(2))
    assert first.catch_up(commits[2]) == 6
    assert second.catch_up(commits[3]) == 3
    assert first.catch_up(commits[3]) == 0
    assert sorted(uids(tmp_path)) == sorted(m.uid for commit in commits for m in commit.members)
    other = RunStore(open_store((tmp_path / "other").as_uri()), "other")
    other.create_run(CONFIG)
    for commit in commits:
        other.put_commit(commit)
    assert (
        StudyRecorder(other, CONFIG, study_url(tmp_path)).catch_up(commits[3]) == 9
    )  # the same members of another run


@pytest.mark.parametrize(
    ("env", "recurrent", "names"),
    [
        ("Probe/Liar-v0", False, {"encoder.honest.nodes", "encoder.noise/loud.layers", "actor_head.nodes"}),
        ("Probe/BrightPixel-v0", False, {"encoder.layers", "encoder.channels", "encoder.kernels"}),
        ("Probe/BrightPixel-v0", True, {"encoder.lstm.units", "encoder.features.channels", "encoder.feature_dim"}),
    ],
)
def test_every_kind_of_encoder_has_parameters_that_never_change_their_names(tmp_path, env, recurrent, names):
    config = make_config(env, **{"algorithm.recurrent": recurrent, "mutation.architecture": 5.0})
    commits = train_on_policy(config).commits
    run = RunRef(f"file://{tmp_path}", "run", config).open()
    run.create_run(config)
    for commit in commits:
        run.put_commit(commit)
    assert StudyRecorder(run, config, study_url(tmp_path)).catch_up(commits[-1]) == 9
    trials = optuna.load_study(study_name="run", storage=study_url(tmp_path)).trials
    assert names <= trials[0].params.keys()
    assert {frozenset(trial.params) for trial in trials} == {frozenset(trials[0].params)}
    assert all(trial.distributions == trials[0].distributions for trial in trials)


def test_every_gene_of_every_scale_is_a_parameter_with_one_distribution(tmp_path, commits):
    StudyRecorder(stored(tmp_path, commits), CONFIG, study_url(tmp_path)).catch_up(commits[3])
    trials = optuna.load_study(study_name="run", storage=study_url(tmp_path)).trials
    assert {"lr", "batch_size", "gamma", "ent_coef", "latent_dim", "encoder.layers", "activation"} <= set(
        trials[0].params
    )
    expected = distributions(CONFIG, commits[1].members[0].offspring.genome)
    assert all(trial.distributions == expected for trial in trials)
    assert not any(trial.user_attrs["times_known"] for trial in trials)  # no timing records were written here


def test_a_study_of_another_run_with_the_same_id_is_not_mixed_in(tmp_path, commits):
    StudyRecorder(stored(tmp_path / "a", commits), CONFIG, study_url(tmp_path)).catch_up(commits[3])
    other = train_on_policy(make_config(seed=2)).commits
    with pytest.raises(ForeignStudy, match="another run of that id"):
        StudyRecorder(stored(tmp_path / "b", other, make_config(seed=2)), CONFIG, study_url(tmp_path))


@pytest.mark.filterwarnings("ignore:Logger 'prefect")  # the task logs outside of a flow here
def test_a_database_that_breaks_in_mid_run_is_caught_up_once_it_is_back(tmp_path, commits, prefect_url):
    stored(tmp_path / "runs", commits)
    view = sync(RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu"), study_url(tmp_path))
    view.record(commits[1])
    wait_for(lambda: recorded(tmp_path) == 3)
    engine = create_engine(study_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE trials RENAME TO hidden"))
    view.record(commits[2])
    wait_for(lambda: "the study lacks generations up to 2: " in (view.behind or ""))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO trials"))
    view.record(commits[3])
    close(view)
    assert view.behind is None
    assert len(uids(tmp_path)) == 9


@pytest.mark.filterwarnings("ignore:Logger 'prefect")
def test_a_database_that_is_locked_stops_nothing_and_is_caught_up(tmp_path, commits, prefect_url, monkeypatch):
    monkeypatch.setattr("tasks.views.study.DATABASE_S", 1)
    stored(tmp_path / "runs", commits)
    view = sync(RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu"), study_url(tmp_path))
    view.record(commits[1])
    wait_for(lambda: recorded(tmp_path) == 3)
    lock = sqlite3.connect(tmp_path / "new/study.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    view.record(commits[2])
    assert time.monotonic() - began < 0.5  # recording is not waited for
    wait_for(lambda: "locked" in (view.behind or ""))
    lock.execute("ROLLBACK")
    lock.close()
    view.record(commits[3])
    close(view)
    assert view.behind is None
    assert sorted(uids(tmp_path)) == sorted(m.uid for commit in commits for m in commit.members)


@pytest.mark.filterwarnings("ignore:Logger 'prefect")
def test_a_database_that_is_read_only_leaves_the_view_behind_until_it_can_be_written(tmp_path, commits, prefect_url):
    StudyRecorder(stored(tmp_path / "runs", commits), CONFIG, study_url(tmp_path)).catch_up(commits[1])
    reference = RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu")
    view = sync(reference, f"sqlite:///file:{tmp_path}/new/study.db?mode=ro&uri=true")
    view.record(commits[3])
    close(view)
    assert "readonly" in view.behind
    again = sync(reference, study_url(tmp_path))
    again.record(commits[3])
    close(again)
    assert again.behind is None
    assert len(uids(tmp_path)) == 9


def test_a_driver_that_is_missing_leaves_the_view_behind(tmp_path, commits):
    stored(tmp_path / "runs", commits)
    view = sync(RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu"), "oracle://user@host/db")
    view.record(commits[1])
    close(view)
    assert "the study lacks generations" in view.behind


def times_and_all(trials):
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.datetime_start, t.datetime_complete)
        for t in trials
    ]


def test_a_study_that_is_rebuilt_from_the_store_equals_the_live_one(tmp_path, commits):
    run = stored(tmp_path, commits)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for commit in commits[1:]:
        clocks = [Timing(start=start, end=start + timedelta(seconds=s), host="here", process=1) for s in (1, 2)]
        train, evaluate = ({member.uid: clock for member in commit.members} for clock in clocks)
        run.put_timings(commit.generation, Timings(train=train, evaluate=evaluate))
    url = study_url(tmp_path)
    live = StudyRecorder(run, CONFIG, url)
    for commit in commits[1:]:
        live.catch_up(commit)
    before = times_and_all(optuna.load_study(study_name="run", storage=url).trials)
    assert len(before) == 9
    assert all(attributes["times_known"] for *_, attributes, _, _ in before)
    assert rebuild_study(run, CONFIG, url) == 9
    assert times_and_all(optuna.load_study(study_name="run", storage=url).trials) == before
    elsewhere = f"sqlite:///{tmp_path}/other.db"
    assert rebuild_study(run, CONFIG, elsewhere) == 9
    assert times_and_all(optuna.load_study(study_name="run", storage=elsewhere).trials) == before


def test_rebuilding_does_not_delete_the_study_of_another_run(tmp_path, commits):
    StudyRecorder(stored(tmp_path / "a", commits), CONFIG, study_url(tmp_path)).catch_up(commits[3])
    other = train_on_policy(make_config(seed=2)).commits
    with pytest.raises(ForeignStudy, match="another run of that id"):
        rebuild_study(stored(tmp_path / "b", other, make_config(seed=2)), CONFIG, study_url(tmp_path))
    assert len(uids(tmp_path)) == 9


def test_a_recorder_that_starts_late_asks_the_store_only_for_what_is_missing(tmp_path, commits):
    run = stored(tmp_path, commits)
    StudyRecorder(run, CONFIG, study_url(tmp_path)).catch_up(commits[3])
    asked = []
    read = run.store.backend.read
    run.store.backend.read = lambda key: asked.append(key) or read(key)
    assert StudyRecorder(run, CONFIG, study_url(tmp_path)).catch_up(commits[3]) == 0
    assert set(asked) == {"run/run.json", "run/gen/000000/COMMIT.json"}
