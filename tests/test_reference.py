"""The reference pages: generated from the code, or compared with its real output."""

import csv
import importlib.util
import re
from pathlib import Path

import optuna
import pytest

from evo_core import RunConfig
from evo_core.config.objectives import Objective
from evo_core.records.chain import Update
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.study import StudyRecorder
from tasks.views.trackers.measures import generation_measures, lineage_row, member_measures
from tasks.views.trackers.recorder import TrackRecorder
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage

ROOT = Path(__file__).parents[1]
METRICS = (ROOT / "docs/reference/metrics.md").read_text()
SETTINGS_WITHOUT_A_FLAG = {"EVOLVE_ENV_PACKAGES", "EVOLVE_SLOTS_TAG", "EVOLVE_STORE_PAGE", "EVOLVE_STUDY_PAGE"}


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("reference_pages", ROOT / "docs/_hooks/reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_field_of_the_configuration_has_a_row_with_what_it_takes(pages):
    def fields(model, prefix=""):
        for name, field in model.model_fields.items():
            kind = field.annotation
            if hasattr(kind, "model_fields"):
                yield from fields(kind, f"{prefix}{name}.")
            elif name != "search":
                yield f"{prefix}{name}"

    text = pages.configuration()
    rows = {row[0]: row for row in (line.strip("| ").split(" | ") for line in text.splitlines()) if row[0][:1] == "`"}
    shown = {name.strip("`") for name in rows}
    entries = {name for name in shown if "[]" in name}
    assert entries == {f"evaluation.objectives[].{name}" for name in Objective.model_fields}
    assert {name for name in shown - entries if not name.startswith("search.")} == set(fields(RunConfig))
    assert {name for name in shown if name.startswith("search.")} == {
        f"search.NAME.{name}" for name in ("min", "max", "scale", "step")
    }
    assert rows["`algorithm.lr`"][1:5] == ["number", "`0.001`", "above 0, at most 1", "yes"]
    assert rows["`algorithm.action_std_init`"][4] == "no"
    assert rows["`env.id`"][2] == "**required**"
    assert all(row[-1].strip() for row in rows.values())


def test_every_setting_and_command_is_listed(pages):
    from flows.cli.app import app
    from flows.settings import ENV_PREFIX, Settings

    lines = pages.settings().splitlines()[2:]
    found = dict(re.match(r"\| `(\w+)` \| (\S*) ?\|", line).groups() for line in lines)
    assert found.keys() == {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert {name for name, flag in found.items() if not flag} == SETTINGS_WITHOUT_A_FLAG
    text = pages.commands()
    names = {name for name in app if not name.startswith("-")}
    assert {"run", "serve", "lineage"} <= names
    assert names <= set(re.findall(r"^### evolve (\S+)$", text, re.MULTILINE))
    for flag in ("--config", "--engine", "--dry-run"):
        assert f"`{flag}" in text.partition("### evolve run")[2].partition("\n### ")[0]


def test_the_fields_of_json_output_are_documented(tmp_path):
    from flows.cli.ending import ExitReport
    from flows.settings import Settings

    settings = Settings(store=str(tmp_path), track="csv")
    report = ExitReport("run", make_lineage_config(3, 2), settings, None, RuntimeError("broken"), 1.0)
    page = (ROOT / "docs/reference/command-line.md").read_text().partition("| field | content |")[2].partition("##")[0]
    shown = {
        name
        for line in page.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1:2][0] if "|" in line else "")
    }
    assert shown == report.as_json().keys()


def test_generated_parts_of_pages_are_inserted_at_their_markers(pages):
    assert pages.on_page_markdown("a\n<!-- generated: hyperparameters -->\nb") == f"a\n{pages.hyperparameters()}\nb"
    marked = {name for page in (ROOT / "docs").rglob("*.md") for name in pages.MARKER.findall(page.read_text())}
    assert marked == {"configuration", "settings", "commands", "benchmarks", "arena", "arena_results"}


def test_the_public_api_is_documented_and_nothing_else():
    import evo_core

    page = (ROOT / "docs/reference/python-api.md").read_text()
    assert sorted(re.findall(r"^::: evo_core\.(\w+)$", page, re.MULTILINE)) == sorted(evo_core.__all__)


def test_the_package_for_notebooks_is_documented():
    import evolve_rl

    page = (ROOT / "docs/reference/python-api.md").read_text().partition("## Runs from Python")[2]
    errors = re.findall(r"`(?:evolve_rl\.)?(\w+(?:Error|Input|Failed)|Failed)`", page)
    assert sorted([*re.findall(r"^::: evolve_rl\.(\w+)$", page, re.MULTILINE), *errors]) == sorted(evolve_rl.__all__)


def test_the_columns_of_the_table_of_members_are_documented(run):
    directory, _, config, _ = run
    rows = evolve_rl_members(directory)
    table = METRICS.partition("## Table of members")[2]
    shown = {
        name for line in re.findall(r"^\| (`.+?) \| ", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    sizes = {name for name in rows[0] if f"`{name}`" in METRICS.partition("### Parameters")[2]} - shown
    assert shown == set(rows[0]) - sizes - config.search.keys()


def evolve_rl_members(directory):
    from flows.report.member_table import member_rows
    from flows.report.run_data import view_run
    from flows.runs import open_ref
    from flows.settings import Settings

    return member_rows(view_run(open_ref("run", settings=Settings(store=str(directory)))))


def named(title, after=METRICS):
    """Return the names in the first column of the table that follows a title."""
    table = after.partition(title)[2].lstrip("\n")
    rows = re.search(r"(?:^\|.*\n?)+", table, re.MULTILINE).group()
    return re.findall(r"^\| `([^`]+)`", rows, re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("metrics")
    config = make_lineage_config(3, 2)
    commits = make_commits(config, learns_by_lr_and_gamma)
    store_lineage(directory.as_uri(), "run", config, commits)
    return directory, RunStore(open_store(directory.as_uri()), "run"), config, commits


def general(names):
    """Replace the parts of names that differ between runs by NAME."""
    return [re.sub(r"^(hyperparameters|sizes)/.*", r"\1/NAME", name) for name in names]


def test_the_training_curve_is_documented():
    assert named("## Training curve") == list(Update.model_fields)


def test_the_metrics_of_trackers_are_documented(run):
    member, commit = run[3][-1].members[0], run[3][-1]
    complete = {
        *general(member_measures(member)),
        *("output_shift", "mean_return", "objectives/NAME"),  # unknown here
        *(f"training/{name}" for name in Update.model_fields),
    }
    assert set(named("## Member metrics")) == complete - {"training/steps"}
    assert named("## Population metrics") == list(generation_measures(commit, run[2]))
    assert named("## Lineage") == list(lineage_row(member))


def test_the_columns_of_the_csv_file_are_documented(run):
    directory, store, config, commits = run
    tracker = TrackRecorder("csv", store, config, directory / "tracking")
    tracker.catch_up(commits[-1])
    tracker.close()
    with (directory / "tracking/csv/run/members.csv").open() as file:
        columns = general(next(csv.reader(file)))
    metrics = named("## Member metrics")
    assert set(columns) == {*named("## Lineage"), "total_train_steps", *metrics} - {"objectives/NAME"}
    assert "`total_train_steps`" in METRICS


def test_the_attributes_and_parameters_of_the_study_are_documented(run):
    directory, store, config, commits = run
    url = f"sqlite:///{directory}/study.db"
    StudyRecorder(store, config, url).catch_up(commits[-1])
    study = optuna.load_study(study_name="run", storage=url)
    assert list(study.user_attrs) == named("**Study attributes.**")
    assert len(study.trials) == 6
    for trial in study.trials:
        assert set(trial.user_attrs) == set(named("**Trial attributes.**"))
    parameters = set(study.trials[0].params) - config.search.keys()
    assert parameters == {name for name in parameters if f"`{name}`" in METRICS.partition("### Parameters")[2]}
    assert parameters >= {"latent_dim", "activation", "encoder.nodes"}
