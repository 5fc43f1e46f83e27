"""What commands, the study, the report and exported files say where fitness is not the mean return."""

import json

import numpy as np
import optuna
import pytest

from evo_core.config.run_config import RunConfig
from evo_core.records.chain import Generation
from flows.cli.evaluate import evaluate
from flows.cli.export import export
from flows.cli.status import status
from flows.observers.terminal import LiveState, Row, describe_beginning, generation_table
from flows.report.html_page import make_figures, render_page
from flows.report.run_data import view_run
from flows.runs import open_ref
from flows.views.leaderboard import describe_leaderboard, leaderboard
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.study import rebuild_study
from tests.conftest import make_config
from tests.flows.conftest import make_run

SHORT = {"evaluation.fitness": "length", "evaluation.direction": "minimize", "evaluation.aggregation": {"cvar": 0.5}}
CONFIG = make_config(
    "Probe/Reports-v0", **SHORT, **{"evaluation.episodes": 4, "training.max_steps": 1536, "training.target": 1}
)
NAME = "mean length of the worst 50 %"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    make_run(directory, "short", CONFIG)
    return directory


@pytest.fixture
def run(store, here, monkeypatch) -> RunStore:
    monkeypatch.setenv("EVOLVE_STORE", store.as_uri())
    return RunStore(open_store(store.as_uri()), "short")


def said(capsys, command, **arguments) -> str:
    capsys.readouterr()
    assert command("short", **arguments) == 0
    return " ".join(capsys.readouterr().out.split())


def head(run: RunStore) -> tuple[Generation, RunConfig]:
    return run.head(), run.config()


def test_status_names_the_fitness_and_shows_returns_beside_it(run, capsys):
    text = said(capsys, status)
    assert f"fitness: {NAME}, less is better" in text
    assert "mean return" in text and f"target 1 ({NAME}, less is better) not reached" in text
    told = json.loads(said(capsys, status, json=True))
    assert told["fitness"] == {"name": NAME, "direction": "minimize"}
    commit, _ = head(run)
    assert told["elite"]["fitness"] == min(member.fitness for member in commit.members)


def test_fresh_episodes_are_measured_by_the_runs_fitness(run, capsys):
    told = json.loads(said(capsys, evaluate, episodes=20, json=True))
    values = [one["value"] for one in told["played"]]
    assert values == [one["length"] for one in told["played"]]
    worst = float(np.sort(values)[10:].mean())
    assert told["fitness"]["value"] == pytest.approx(worst) and told["fitness"]["name"] == NAME
    low, high = told["fitness"]["ci95"]
    assert low <= worst <= high
    assert told["mean"] == np.mean([one["return"] for one in told["played"]])
    assert f"fitness, {NAME}, less is better: {worst:.1f}" in said(capsys, evaluate, episodes=20)


def test_the_study_has_the_direction_and_the_name_of_the_fitness(run, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    rebuild_study(run, run.config(), url)
    study = optuna.load_study(study_name="short", storage=url)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.metric_names == [NAME]
    fitness = [member.fitness for commit in run.commits() for member in commit.members]
    assert study.best_value == min(fitness)
    assert [trial.value for trial in study.trials] == fitness
    assert all(trial.user_attrs["mean_return"] < 1 for trial in study.trials)


def test_the_report_and_an_exported_file_name_the_fitness(run, capsys):
    view = view_run(open_ref("short"))
    figures = {figure.name: figure for figure in make_figures(view)}
    text = render_page(view, list(figures.values()))
    assert f">{NAME}, less is better<" in text and "(mean return " in text
    for name in ("fitness", "family_tree"):
        assert figures[name].plot.layout.yaxis.title.text == f"fitness: {NAME}, less is better"
    told = json.loads(said(capsys, export, format="safetensors", json=True))
    generation, index = (int(part[1:]) for part in told["card"]["member"].split("/"))
    member = run.commit(generation).members[index]
    assert (told["card"]["fitness_name"], told["card"]["direction"]) == (NAME, "minimize")
    assert told["card"]["mean_return"] == member.evaluation.mean_return


def test_tables_put_the_least_first(run):
    commit, config = head(run)
    rows = leaderboard(commit)
    shown = [float(row["fitness"].split()[0]) for row in rows]
    assert shown == sorted(shown)
    assert all(row["mean return"] for row in rows)
    assert f"fitness: {NAME}, less is better" in describe_leaderboard(commit, config)
    assert f"fitness: {NAME}, less is better" in describe_beginning("short", commit, config)
    state = LiveState({member.uid: Row(member.offspring, result=member) for member in commit.members})
    cells = list(generation_table(state, config, 120).columns[3].cells)
    assert [float(cell.split()[0]) for cell in cells] == shown
