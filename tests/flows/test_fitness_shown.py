"""What commands, the study, the report and exported files say where fitness is not the mean return."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pytest
from rich.console import Console

from deployments.evaluate_runs import Request, play_and_score
from evo_core.config.run_config import RunConfig
from evo_core.records.chain import Generation
from flows.cli.evaluate import evaluate
from flows.cli.export import export
from flows.cli.members import members
from flows.cli.run_list import list_runs
from flows.cli.status import status
from flows.member_lookup import load
from flows.observers.terminal import LiveState, Row, describe_beginning, generation_table
from flows.outcome import delivery
from flows.report.comparison import compare_runs
from flows.report.html_page import make_figures, render_page
from flows.report.member_table import member_rows
from flows.report.run_data import view_run
from flows.runs import open_ref
from flows.settings import BadInput, Settings
from flows.views.leaderboard import describe_leaderboard, leaderboard
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.phrases import describe_number
from tasks.views.study import rebuild_study
from tasks.views.trackers.measures import generation_measures
from tests.conftest import make_config
from tests.flows.conftest import make_run
from tests.lineages import store_run

SHORT = {"evaluation.fitness": "length", "evaluation.direction": "minimize", "evaluation.aggregation": {"cvar": 0.5}}
CONFIG = make_config(
    "Probe/Reports-v0", **SHORT, **{"evaluation.episodes": 4, "training.max_steps": 1536, "training.target": 1}
)
NAME = "mean length of the worst 50 %"
TRADED = make_config(
    "Probe/Reports-v0",
    **{
        "evaluation.objectives": [
            {"measure": "parameters", "direction": "minimize"},
            {"measure": {"info": "fuel"}, "reduction": "sum", "direction": "maximize"},
        ],
        "evaluation.episodes": 4,
        "population.size": 5,
        "training.max_steps": 5 * 256 * 2,
        "mutation": {"no_mutation": 0.2, "architecture": 0.8, "rl_hp": 0.0, "parameters": 0.0},
    },
)
FUEL = "mean fuel (sum)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    make_run(directory, "short", CONFIG)
    make_run(directory, "traded", TRADED)
    return directory


@pytest.fixture
def run(store, here, monkeypatch) -> RunStore:
    monkeypatch.setenv("EVOLVE_STORE", store.as_uri())
    return RunStore(open_store(store.as_uri()), "short")


def said(capsys, command, run="short", **arguments) -> str:
    capsys.readouterr()
    assert command(run, **arguments) == 0
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


@pytest.fixture
def traded(run, store) -> RunStore:
    return RunStore(open_store(store.as_uri()), "traded")


def test_objectives_stand_beside_the_fitness(traded, capsys):
    text = said(capsys, status, "traded")
    assert "objective: parameters, less is better" in text and f"objective: {FUEL}" in text
    told = json.loads(said(capsys, status, "traded", json=True))
    commit = traded.head()
    assert [one["uid"] for one in told["front"]] == [one.uid for one in commit.front]
    assert f"{len(commit.front)} on the front" in text
    row = leaderboard(commit)[0]
    assert row["parameters"].isdigit() and float(row[FUEL].split()[0]) > 0
    view = view_run(open_ref("traded"))
    assert {"parameters", FUEL} <= member_rows(view)[0].keys()
    text = render_page(view, figures := make_figures(view))
    assert f"parameters, less is better; {FUEL}" in text
    pareto = next(figure.plot for figure in figures if figure.name == "pareto")
    assert [axis.title.text for axis in (pareto.layout.xaxis, pareto.layout.xaxis2)] == [
        "parameters, less is better",
        FUEL,
    ]
    assert "the star is the delivered one (evaluation.deliver: knee)." in text
    reached = next(one.reading for one in make_figures(replace(view, status="target reached")) if one.name == "pareto")
    assert "the star is the delivered one (the elite that reached the target)." in reached
    front, delivered = pareto.data[1], pareto.data[2]
    assert len(front.x) == len(commit.front) and delivered.x[0] in front.x
    assert len(pareto.data[0].x) == 10


@pytest.mark.parametrize(
    ("run_id", "scores"),
    [("short", {"mean return": "mean_return"}), ("traded", {"parameters": "parameters", FUEL: FUEL})],
)
def test_the_table_of_members_has_the_scores_besides_fitness(run, monkeypatch, capsys, run_id, scores):
    monkeypatch.setattr("flows.cli.members.make_console", lambda: Console(width=300))
    assert members(run_id) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = next(line for line in lines if "steps of the population" in line)
    for row in member_rows(view_run(open_ref(run_id))):
        cells = next(line for line in lines if f" {row['uid']} " in line[:16]).split("│")
        for title, name in scores.items():
            place = [head.strip(" ┃") for head in heads.split("┃")].index(title)
            assert cells[place].strip() == describe_number(row[name])
    assert ("mean return" in heads) == ("mean return" in scores)


def test_a_study_of_several_objectives_has_their_directions_and_its_own_best_trials(traded, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    rebuild_study(traded, traded.config(), url)
    study = optuna.load_study(study_name="traded", storage=url)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["mean return", "parameters", FUEL]
    values = [(one.fitness, *(each.value for each in one.objectives)) for one in traded.head().front]
    assert set(values) == {tuple(trial.values) for trial in study.best_trials}  # Optuna's front is ours


def test_which_of_the_front_is_taken_can_be_said_afterwards(traded, capsys):
    front, delivered = traded.head().front, traded.head().best
    assert json.loads(said(capsys, evaluate, "traded", episodes=3, json=True))["member"] == delivered.uid
    small = json.loads(said(capsys, evaluate, "traded", episodes=3, deliver="parameters", json=True))
    least = min(one.objectives[0].value for one in front)
    assert small["objectives"][0] == {"name": "parameters", "value": least}
    assert small["why"] == f"best in parameters of a front of {len(front)}"
    card = json.loads(said(capsys, export, "traded", deliver="fitness", format="safetensors", json=True))["card"]
    assert card["fitness"] == max(one.fitness for one in front)
    assert [one["name"] for one in card["objectives"]] == ["parameters", FUEL]


def test_the_flow_that_evaluates_returns_the_objectives_too(traded, capsys):
    told = json.loads(said(capsys, evaluate, "traded", episodes=3, seed=5, json=True))
    found = play_and_score(load(open_ref("traded"), None), Request(None, 3, 5))
    assert found.objectives and [one.model_dump() for one in found.objectives] == told["objectives"]


@pytest.fixture
def cut(traded, store) -> Generation:
    """The last COMMIT of an unfinished run, the chosen one of whose front is neither its elite nor the fittest."""
    *before, last = traded.commits()
    low, *_, high = sorted(last.front, key=lambda one: one.fitness)
    head = Generation.model_validate(last.model_dump() | {"best": low.model_dump(), "elite": high.model_dump()})
    longer = TRADED.model_copy(update={"training": TRADED.training.model_copy(update={"max_steps": 10**6})})
    if not (store / "cut").exists():
        store_run(store.as_uri(), "cut", longer, [*before, head])
    return head


def test_of_an_unfinished_run_the_chosen_one_of_the_front_is_taken(cut):
    found = delivery(open_ref("cut"))
    assert found.elite == cut.best != cut.elite
    assert found.why == f"the knee of a front of {len(cut.front)}; the run is not finished"


def test_best_so_far_is_the_best_fitness_on_the_front(cut, store, capsys):
    most = max(one.fitness for one in cut.front)
    assert most > cut.best.fitness
    assert f"best so far `{cut.elite.uid}`" in describe_leaderboard(cut, TRADED)
    assert generation_measures(cut, TRADED)["best_fitness_so_far"] == most
    groups = compare_runs([view_run(open_ref(name)) for name in ("cut", "traded")])
    assert groups[0].sides[0].best[-1] == most
    capsys.readouterr()
    list_runs(Settings(store=str(store)), json=True)
    assert {one["run_id"]: one["best"] for one in json.loads(capsys.readouterr().out)["details"]}["cut"] == most


@pytest.mark.parametrize(
    ("run_id", "member", "rule", "why"),
    [
        ("traded", None, "length", "--deliver length: expected knee, fitness, parameters, info:fuel"),
        ("traded", "g0001/m00", "knee", "--deliver knee: it chooses a member, and --member g0001/m00 names one"),
        ("short", None, "knee", "--deliver knee: run short has no evaluation.objectives"),
    ],
)
def test_a_rule_that_cannot_choose_is_refused(traded, run_id, member, rule, why):
    with pytest.raises(BadInput, match=why):
        evaluate(run_id, member=member, deliver=rule)
