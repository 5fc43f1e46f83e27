"""The study in other tools: Optuna's own figures, its storages, and its dashboard."""

import optuna
import pytest
from optuna import visualization

from evo_core.evaluation.episodes import evaluation_seeds
from evo_core.local import train_on_policy
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.study import CURVE_POINTS, StudyRecorder, learning_curve, open_storage, rebuild_study
from tests.conftest import make_config
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage
from tests.services import postgres_server

FIGURES = [name for name in visualization.__all__ if name.startswith("plot_")]
SEVERAL_GOALS = {"plot_hypervolume_history", "plot_pareto_front"}
"""Figures of studies with more than one objective."""


def fails_now_and_then(offspring, before, rng):
    return None if rng.random() < 0.1 else learns_by_lr_and_gamma(offspring, before, rng)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ledger")
    config = make_lineage_config(6, 4)
    store_lineage(directory.as_uri(), "run", config, make_commits(config, fails_now_and_then))
    return RunStore(open_store(directory.as_uri()), "run"), config, directory


@pytest.fixture(scope="module")
def study(ledger):
    run, config, directory = ledger
    assert rebuild_study(run, config, f"sqlite:///{directory}/study.db") == 24
    return optuna.load_study(study_name="run", storage=f"sqlite:///{directory}/study.db")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_optuna_can_be_drawn(study, name):
    more = [[0.0]] if "hypervolume" in name else []
    if name in SEVERAL_GOALS:
        with pytest.raises(ValueError, match="objective"):
            getattr(visualization, name)(study, *more)
    else:
        assert getattr(visualization, name)(study).data


def test_times_are_true_and_failures_are_failures(ledger, study):
    run, _, _ = ledger
    for trial in study.trials:
        commit = run.commit(trial.user_attrs["generation"])
        member = commit.members[trial.user_attrs["member"]]
        assert trial.state.name == ("FAIL" if member.failure else "COMPLETE")
        timing = run.timings(commit.generation).train[member.uid]
        assert trial.datetime_start.astimezone() == timing.start
        assert (trial.datetime_complete - trial.datetime_start).total_seconds() == 9
    assert {trial.state.name for trial in study.trials} == {"FAIL", "COMPLETE"}


def test_trials_carry_their_learning_curve_and_their_seeds(tmp_path):
    config = make_config(**{"training.max_steps": 1536})
    commits = train_on_policy(config).commits
    run = RunStore(open_store(tmp_path.as_uri()), "run")
    run.create_run(config)
    for commit in commits:
        run.put_commit(commit)
    url = f"sqlite:///{tmp_path}/study.db"
    StudyRecorder(run, config, url).catch_up(commits[-1])
    trials = optuna.load_study(study_name="run", storage=url).trials
    second = [trial for trial in trials if trial.user_attrs["generation"] == 2]
    assert all(256 < step <= 512 for trial in second for step in trial.intermediate_values)
    member = commits[2].members[0]
    returns = [update.episode_return for update in member.training.curve if update.episode_return is not None]
    assert list(second[0].intermediate_values.values()) == returns
    assert second[0].user_attrs["seeds"] == evaluation_seeds(config, 2)
    long = member.training.model_copy(update={"curve": member.training.curve * 50})
    assert 1 < len(learning_curve(member.model_copy(update={"training": long}))) <= CURVE_POINTS


@pytest.fixture(params=["journal", "postgresql"])
def url(request, tmp_path):
    if request.param == "journal":
        yield f"journal:///{tmp_path}/new/study.journal"
    else:
        with postgres_server(tmp_path) as found:
            yield found


def test_every_storage_holds_the_same_ledger(ledger, study, url):
    run, config, _ = ledger
    recorder = StudyRecorder(run, config, url)
    assert recorder.catch_up(run.head()) == 24
    assert StudyRecorder(run, config, url).catch_up(run.head()) == 0
    trials = optuna.load_study(study_name="run", storage=open_storage(url)).trials
    assert [(t.user_attrs, t.value, t.params) for t in trials] == [
        (t.user_attrs, t.value, t.params) for t in study.trials
    ]
    assert rebuild_study(run, config, url) == 24
