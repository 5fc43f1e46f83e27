"""The study catches up with the store, and never mixes runs."""

import optuna
import pytest
from sqlalchemy import create_engine, text

from evo_core.local import train_on_policy
from flows.lineage import LineageView
from tasks.ref import RunRef
from tasks.run_store import RunStore
from tasks.store import open_store
from tasks.study import ForeignStudy, StudyRecorder, distributions
from tests.conftest import make_config

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


def stored(directory, commits):
    run = RunStore(open_store(directory.as_uri()), "run")
    run.create_run(CONFIG)
    for commit in commits:
        run.put_commit(commit)
    return run


def study_url(tmp_path):
    return f"sqlite:///{tmp_path}/new/study.db"


def uids(tmp_path):
    return [t.user_attrs["uid"] for t in optuna.load_study(study_name="run", storage=study_url(tmp_path)).trials]


def test_a_recorder_adds_what_is_missing_and_nothing_twice(tmp_path, commits):
    run = stored(tmp_path, commits)
    first = StudyRecorder(run, CONFIG, study_url(tmp_path))
    assert first.catch_up(commits[1]) == 3
    assert first.catch_up(commits[1]) == 0
    later = StudyRecorder(run, CONFIG, study_url(tmp_path))
    assert later.catch_up(commits[3]) == 6
    assert sorted(uids(tmp_path)) == sorted(m.uid for commit in commits for m in commit.members)


def test_every_gene_of_every_scale_is_a_parameter_with_one_distribution(tmp_path, commits):
    StudyRecorder(stored(tmp_path, commits), CONFIG, study_url(tmp_path)).catch_up(commits[3])
    trials = optuna.load_study(study_name="run", storage=study_url(tmp_path)).trials
    assert {"lr", "batch_size", "gamma", "ent_coef", "latent_dim", "encoder.layers", "activation"} <= set(
        trials[0].params
    )
    assert all(trial.distributions == distributions(CONFIG) for trial in trials)
    assert not any(trial.user_attrs["times_known"] for trial in trials)  # no timing records were written here


def test_a_study_of_another_run_with_the_same_id_is_not_mixed_in(tmp_path, commits):
    StudyRecorder(stored(tmp_path / "a", commits), CONFIG, study_url(tmp_path)).catch_up(commits[3])
    other = train_on_policy(make_config(seed=2)).commits
    with pytest.raises(ForeignStudy, match="another run of that id"):
        StudyRecorder(stored(tmp_path / "b", other), CONFIG, study_url(tmp_path))


@pytest.mark.filterwarnings("ignore:Logger 'prefect")  # the task logs outside of a flow here
def test_a_database_that_breaks_in_mid_run_is_caught_up_once_it_is_back(tmp_path, commits, prefect_url):
    stored(tmp_path / "runs", commits)
    view = LineageView(RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu"), study_url(tmp_path))
    view.record(commits[1])
    assert view.behind is None
    engine = create_engine(study_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE trials RENAME TO hidden"))
    view.record(commits[2])
    assert "the study lacks generations up to 2" in view.behind
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO trials"))
    view.record(commits[3])
    assert view.behind is None
    assert len(uids(tmp_path)) == 9


def test_a_driver_that_is_missing_leaves_the_view_behind(tmp_path, commits):
    stored(tmp_path / "runs", commits)
    view = LineageView(RunRef((tmp_path / "runs").as_uri(), "run", CONFIG, "cpu"), "oracle://user@host/db")
    view.record(commits[1])
    assert "the study lacks generations" in view.behind
