"""evolve status: a list of the runs of a store, and tables that fit a terminal of 80 columns."""

import io
import json
import os
from unittest.mock import patch

import pytest
from rich.console import Console

from flows.cli import app as cli
from flows.cli.run_list import Line, describe_age, describe_count, runs_table
from flows.cli.status import members_table
from tasks.runs.presence import hold_run
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_confirmations, store_lineage


def drawn(table, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue().splitlines()


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_lineage_config(4, 3)
    commits = make_commits(config, learns_by_lr_and_gamma)
    for run_id, stop in (("whole", 4), ("half", 2), ("new", 1), ("broken", 2)):
        store_lineage((tmp_path / "runs").as_uri(), run_id, config, commits[:stop])
    store_confirmations((tmp_path / "runs").as_uri(), "whole", commits)
    (tmp_path / "runs/broken/gen/000001/COMMIT.json").write_text("{}")
    with patch.dict(os.environ):
        yield tmp_path, config, commits


def test_every_run_is_a_line_with_environment_generations_best_steps_state_and_age(stored, capfd):
    directory, config, commits = stored
    with hold_run(RunStore(open_store((directory / "runs").as_uri()), "new")):
        assert cli._main(["status", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["runs"] == ["broken", "half", "new", "whole"]
    lines = {line["run_id"]: line for line in told["details"]}
    states = {name: line["state"] for name, line in lines.items()}
    assert states == {"whole": "budget spent", "half": "unfinished", "new": "running", "broken": "damaged"}
    assert lines["half"] == {
        "run_id": "half",
        "state": "unfinished",
        "env": config.env.id,
        "generations": 1,
        "max_generations": 3,
        "best": commits[1].best.fitness,
        "train_steps": commits[1].train_steps,
        "age_s": pytest.approx(30, abs=30),
    }
    assert cli._main(["status"]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[0].split() == ["run", "environment", "gen", "best", "steps", "state", "age"]
    assert len(shown) == 5


def test_tables_fit_80_columns(stored):
    _, _, commits = stored
    name = "lunarlander-v3-20261122-abcd"
    line = Line(name, "budget spent", "LunarLander-v3", 12, 16, 231.4, 1_500_000, 7300.0)
    for row in (lines := drawn(runs_table([line]))):
        assert len(row) <= 80
    assert len(lines) == 2 and name in lines[1] and lines[1].split()[-4:] == ["budget", "spent", "2", "h"]
    lines = drawn(members_table(commits[-1], 80))
    assert max(map(len, lines)) <= 80 and "hyperparameters" not in lines[0]
    assert len([row for row in lines if row.startswith("g0003/m")]) == 4
    assert "hyperparameters" in drawn(members_table(commits[-1], 160), 160)[0]


def test_counts_and_ages_are_short():
    assert [describe_count(n) for n in (0, 9999, 123_456, 999_499, 999_500, 1_500_000, 2 * 10**9)] == [
        *("0", "9999", "123k", "999k", "1M", "1.5M", "2G")
    ]
    assert [describe_age(s) for s in (5, 61, 7300, 200_000)] == ["5 s", "1 min", "2 h", "2 d"]
