"""evolve members and evolve compare on runs of a store."""

import csv
import io
import json

import numpy as np
import pyarrow.parquet
import pytest

from evo_core.evaluation.intervals import mean_interval
from flows.cli.app import _main
from flows.report.comparison import compare_runs
from flows.report.run_data import view_run
from flows.runs import open_ref
from flows.settings import Settings
from tests.conftest import make_config
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_confirmations, store_lineage

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with three seeds of one configuration, two of another, a run of another environment, and one of another
    fitness."""
    store = tmp_path_factory.mktemp("compared")
    runs = {f"wide-{seed}": make_lineage_config(8, 3, seed=seed) for seed in SEEDS}
    runs |= {f"small-{seed}": make_lineage_config(4, 6, seed=seed) for seed in (1, 2)}
    for run_id, config in runs.items():
        commits = make_commits(config, learns_by_lr_and_gamma, seed=config.seed)
        store_lineage(store.as_uri(), run_id, config, commits)
        store_confirmations(store.as_uri(), run_id, commits)
    other = make_config("Acrobot-v1", search=make_lineage_config(4, 2).search, **{"algorithm.ent_coef": 0.01})
    store_lineage(store.as_uri(), "other", other, make_commits(other, learns_by_lr_and_gamma))
    median = make_lineage_config(4, 2, **{"evaluation.aggregation": "median"})
    store_lineage(store.as_uri(), "median", median, make_commits(median, learns_by_lr_and_gamma))
    return store


@pytest.fixture
def told(stored, here, capfd, monkeypatch):
    monkeypatch.setenv("EVOLVE_STORE", str(stored))

    def run(*arguments, expect=0):
        capfd.readouterr()
        assert _main(list(arguments)) == expect
        out, err = capfd.readouterr()
        return err if expect else out

    return run


def groups_of(stored, *names):
    settings = Settings(store=str(stored))
    return compare_runs([view_run(open_ref(name, settings=settings)) for name in names])


def test_members_are_the_same_in_every_format(told, here):
    array = json.loads(told("members", "wide-1", "--format", "json"))
    assert len(array) == 24 and json.loads(told("members", "wide-1", "--json"))["members"] == array
    told("members", "wide-1", "--format", "parquet", "--output", "m.parquet")
    mixed = ("mutation_from", "mutation_to")
    texts = [{**row, **{n: None if row[n] is None else str(row[n]) for n in mixed}} for row in array]
    assert pyarrow.parquet.read_table("m.parquet").to_pylist() == texts
    rows = list(csv.DictReader(io.StringIO(told("members", "wide-1", "--format", "csv"))))
    assert [{n: "" if v is None else str(v) for n, v in row.items()} for row in array] == rows
    table = told("members", "wide-1")
    assert table.count("g0003/m0") >= 8 and "gamma" in table


def test_the_line_of_a_member_is_listed_alone(told):
    found = json.loads(told("members", "wide-1", "--line", "winner", "--json"))
    line = [row["uid"] for row in found["members"]]
    assert line[-1] == found["winner"] and [uid[:5] for uid in line] == [f"g{n:04d}" for n in range(1, len(line) + 1)]
    assert "--line g9999/m00: member" in told("members", "wide-1", "--line", "g9999/m00", expect=2)


def test_formats_that_cannot_be_written_are_refused(told, here):
    assert "needs --format csv, json or parquet" in told("members", "wide-1", "--output", "x", expect=2)
    assert "there is no directory" in told("members", "wide-1", "--format", "csv", "--output", "no/x", expect=2)
    assert list(here.iterdir()) == []


def test_the_band_is_the_mean_over_seeds_of_what_each_run_had_until_then(stored):
    (group,) = groups_of(stored, *(f"wide-{seed}" for seed in SEEDS))
    steps, means, intervals = group.band()
    assert steps.tolist() == [8 * 256 * g for g in range(1, 4)]
    bests = []
    for side in group.sides:
        elites = [commit.elite.fitness for commit in side.view.lineage.commits]
        bests.append(np.maximum.accumulate(elites))
        assert side.best.tolist() == bests[-1].tolist()
    assert means == pytest.approx(np.mean(bests, axis=0))
    assert intervals[-1] == mean_interval(np.array(bests)[:, -1])


def test_runs_of_different_lengths_are_compared_where_all_of_them_are(stored):
    wide, small = groups_of(stored, "wide-1", "small-1", "wide-2", "small-2")
    assert [side.view.run_id for side in small.sides] == ["small-1", "small-2"]
    assert (wide.name, small.name) == ("A", "B")
    first, second = small.sides[0].best[:2]
    assert small.sides[0].best_at(np.array([1024, 1500, 2048])).tolist() == [first, first, second]
    assert small.band()[2] == [None] * len(small.grid())  # two seeds have no interval


def test_runs_are_compared_in_tables_and_as_json(told):
    said = " ".join(told("compare", "wide-1", "wide-2", "wide-3", "small-1").split())
    assert "population.size" in said and "training.max_steps" not in said
    found = json.loads(told("compare", "wide-1", "wide-2", "wide-3", "small-1", "--json"))
    assert [run["configuration"] for run in found["runs"]] == ["A", "A", "A", "B"]
    assert len(found["configurations"][0]["ci95"][-1]) == 2 and found["files"] == []
    assert found["runs"][0]["best"] == sorted(found["runs"][0]["best"])


def test_the_figures_and_tables_are_one_page(told, here, monkeypatch):
    monkeypatch.setattr("flows.cli.report.find_spec", lambda name: None)
    assert told("compare", "wide-1", "wide-2", "wide-3", "small-1", "--output", "c").strip().endswith("comparison.html")
    page = (here / "c" / "comparison.html").read_text()
    for text in ('id="best_so_far"', 'id="confirmed"', "What differs", "small-1", "A: mean of 3 runs"):
        assert text in page


def test_runs_that_cannot_be_compared_are_refused(told):
    assert "expected runs of one environment" in told("compare", "wide-1", "other", expect=2)
    assert "expected runs of one fitness" in told("compare", "wide-1", "median", expect=2)
    assert "expected 2 to 200 runs, got 1" in told("compare", "wide-1", expect=2)
    assert "wide-1 is named twice" in told("compare", "wide-1", "wide-1", expect=2)
    assert "did you mean wide-" in told("compare", "wide-1", "wide-9", expect=2)
