"""Runs of a store opened from Python: tables, curves, lines, agents, figures, and what a notebook shows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import plotly.graph_objects as go
import pytest

import evolve_rl
from evo_core.agent.checkpoint import load_agent, to_bytes
from evo_core.lineage.tree import Lineage
from tests.conftest import make_config
from tests.flows.conftest import make_run
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A store with a whole run whose members were not trained, an unfinished one, and one without a generation."""
    store = tmp_path_factory.mktemp("drawn")
    config = make_lineage_config(8, 10)
    commits = make_commits(config, learns_by_lr_and_gamma)
    for run_id, stop in (("whole", 11), ("running", 3), ("new", 1)):
        store_lineage(store.as_uri(), run_id, config, commits[:stop])
    return store, config, commits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store = tmp_path_factory.mktemp("trained")
    return make_run(store, "real", make_config()), evolve_rl.open_run(store, "real")


def test_every_member_has_a_row_with_its_genes_fitness_times_and_checkpoint(drawn):
    store, config, commits = drawn
    table = evolve_rl.open_run(store, "whole").members()
    assert isinstance(table, pandas.DataFrame)
    everyone = [member for commit in commits for member in commit.members]
    assert list(table.uid) == [member.uid for member in everyone]
    for (_, row), member in zip(table.iterrows(), everyone, strict=True):
        genes = member.offspring.genome.hyperparameters
        assert {name: row[name] for name in config.search} == genes
        assert row.fitness == member.fitness and row.fitness_sem == 1.0
        assert row.checkpoint == member.training.blob.sha256
        assert (row.generation, row.member) == (member.offspring.generation, member.offspring.index)
        assert row.total_steps == commits[row.generation].train_steps
        assert (row.train_s, row.evaluate_s) == (8.0, 1.0)
    line = [member.uid for member in Lineage(commits).line(commits[-1].elite.uid)]
    assert list(table.uid[table.in_winning_line]) == line


def test_without_pandas_tables_are_records(drawn, monkeypatch):
    run = evolve_rl.open_run(drawn[0], "whole")
    frame = run.lineage()
    monkeypatch.setattr("flows.report.member_table.find_spec", lambda name: None)
    records = run.lineage()
    assert [row["uid"] for row in records] == list(frame.uid)
    assert list(records[0]) == list(frame.columns)


def test_a_line_of_descent_begins_at_its_founder(drawn):
    store, _, commits = drawn
    run = evolve_rl.open_run(store, "whole")
    uid = commits[4].members[3].uid
    line = run.lineage(uid)
    assert line.uid.iloc[-1] == uid and line.generation.tolist() == list(range(1, 5))
    assert line.parent.tolist()[1:] == line.uid.tolist()[:-1]
    assert uid in run.story(uid)
    with pytest.raises(evolve_rl.BadInput, match="expected the name of a finished member"):
        run.lineage("g9999/m00")
    with pytest.raises(evolve_rl.BadInput, match="expected the name of a finished member"):
        run.curve("g9999/m00")


def test_the_winners_curve_is_stitched_from_its_ancestors(trained):
    _, run = trained
    curve, line = run.curve(), run.tree.line(run.winner.uid)
    updates = [update for member in line for update in member.training.curve]
    assert curve.episode_return.fillna(0).tolist() == [update.episode_return or 0 for update in updates]
    assert curve.lineage_steps.tolist() == np.cumsum([update.steps for update in updates]).tolist()
    assert curve.lineage_steps.iloc[-1] == line[-1].offspring.lineage_steps + line[-1].training.steps
    assert curve.fitness.dropna().tolist() == [member.fitness for member in line]


def test_the_delivered_agent_and_any_other_are_loaded(trained):
    ref, run = trained
    assert run.status == "budget spent" and run.confirmed is not None
    spaces = ref.environment().spaces
    for uid in (run.winner.uid, "g0001/m02"):
        agent = run.agent(uid)
        stored = ref.open().blob(run.tree[uid].training.blob)
        assert to_bytes(agent.state()) == to_bytes(load_agent(stored, spaces).state())
    assert to_bytes(run.agent().state()) == to_bytes(run.agent(run.winner.uid).state())


def test_figures_are_those_of_the_report(drawn):
    run = evolve_rl.open_run(drawn[0], "whole")
    tree = run.figures["family_tree"]
    assert isinstance(tree, go.Figure) and tree.layout.title.text == "Family tree" and len(tree.data) > 2
    assert {"fitness", "schedules", "worth"} <= set(run.figures) and len(run.figures) == len(list(run.figures))
    assert run.figures.reading("family_tree").startswith("Each edge leads")
    with pytest.raises(KeyError, match="did you mean family_tree"):
        run.figures["familytree"]


def test_the_report_is_that_of_the_command(drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = evolve_rl.open_run(drawn[0], "whole")
    page = run.report()
    assert page == Path("reports/whole/report.html") and run.winner.uid in page.read_text()
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_a_notebook_shows_the_run_and_its_result(drawn):
    store, _, commits = drawn
    shown = evolve_rl.open_run(store, "whole")._repr_html_()
    assert commits[-1].elite.uid in shown and "its founder had" in shown and "<script" not in shown
    assert repr(evolve_rl.open_run(store, "whole")).startswith(
        f"Run(whole: unfinished, {commits[-1].elite.uid} fitness"
    )


def test_refresh_reads_a_continued_run_again(drawn, tmp_path):
    _, config, commits = drawn
    store_lineage(tmp_path.as_uri(), "going", config, commits[:3])
    run = evolve_rl.open_run(tmp_path, "going")
    assert run.members().generation.max() == 2
    (tmp_path / "other").mkdir()
    store_lineage((tmp_path / "other").as_uri(), "going", config, commits[:6])
    (tmp_path / "other" / "going").rename(tmp_path / "next")
    for path in sorted((tmp_path / "next" / "gen").iterdir()):
        if not (tmp_path / "going" / "gen" / path.name).exists():
            path.rename(tmp_path / "going" / "gen" / path.name)
    assert run.members().generation.max() == 2
    assert run.refresh().members().generation.max() == 5


def test_a_run_without_a_generation_is_reported_as_such(drawn):
    run = evolve_rl.open_run(drawn[0], "new")
    assert repr(run) == "Run(new: no generation finished yet)"
    assert "has finished no generation yet" in run._repr_html_()
    with pytest.raises(evolve_rl.BadInput, match="has finished no generation yet"):
        run.members()


def test_unknown_runs_and_settings_are_refused_with_advice(drawn):
    with pytest.raises(evolve_rl.BadInput, match="did you mean whole"):
        evolve_rl.open_run(drawn[0], "whol")
    with pytest.raises(evolve_rl.BadInput, match=r"env_pth: not an operational setting; did you mean env_path"):
        evolve_rl.open_run(drawn[0], "whole", env_pth=".")


@pytest.mark.parametrize("name", ["tasks", "flows"])
def test_it_refuses_where_the_users_own_module_was_imported(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    code = f"import {name}, evolve_rl; evolve_rl.open_run('runs', 'x')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert f"ShadowedError: {name} was imported from {tmp_path / name}.py, but evolve needs its own package" in last
    assert f"Rename {tmp_path / name}.py (my_{name}.py, for instance)" in last


def test_it_works_beside_modules_of_the_users_that_were_not_imported(tmp_path):
    (tmp_path / "tasks.py").write_text("raise AssertionError")
    code = "import evolve_rl; evolve_rl.open_run('runs', 'x')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "BadInput: run x is not in" in done.stderr


def test_importing_the_package_imports_nothing_else():
    code = "import evolve_rl, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "flows", "tasks", "pydantic", "pandas", "plotly"} & set(done.stdout.split())
