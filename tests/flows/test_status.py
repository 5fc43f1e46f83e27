"""`evolve status` and the summary agree on whether a run has ended, and why."""

import math

import pytest

from evo_core.records.chain import Confirmation
from flows.cli.app import _main
from flows.cli.status import _as_json
from flows.outcome import delivery, stored_ending
from flows.run_changes import extend_run
from flows.settings import BadInput, Settings
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore
from tests.conftest import make_config
from tests.lineages import make_commits, make_lineage_config, store_run

TARGET = 195.0


@pytest.fixture
def run(here, monkeypatch) -> RunStore:
    """Three generations whose elite has 190 in selection and 198 in confirmation; the target is 195."""
    config = make_lineage_config(4, 3, **{"training.target": TARGET})
    commits = make_commits(config, lambda offspring, parent, rng: 190.0)
    run = store_run((here / "runs").as_uri(), "run", config, commits)
    last = commits[-1]
    for elite in {last.elite.generation: last.elite, last.best.generation: last.best}.values():
        run.put_confirmation(elite, Confirmation(uid=elite.uid, mean=198.0, ci95=(197.0, 199.0), episodes=4, steps=9))
    monkeypatch.setenv("EVOLVE_STORE", (here / "runs").as_uri())
    return run


def status(capsys) -> str:
    capsys.readouterr()
    assert _main(["status", "run"]) == 0
    return capsys.readouterr().out


def as_json(run: RunStore) -> dict[str, object]:
    return _as_json(reference(run), run, run.head())


def reference(run: RunStore) -> RunRef:
    return RunRef(Settings().store_url, run.run_id, run.config(), "cpu")


def test_status_and_summary_agree_where_only_the_confirmation_reaches_the_target(run, capsys):
    assert stored_ending(reference(run), run.head()).status == "budget_spent"
    assert as_json(run)["status"] == "budget_spent"
    said = status(capsys)
    assert "budget spent, target 195 not reached" in said and "evolve resume" not in said


def test_status_shows_an_extended_run_as_unfinished(run, capsys):
    extend_run(Settings(), "run", run.config().training.max_steps + 4 * 256, None)
    assert stored_ending(reference(run), run.head()) is None
    assert as_json(run)["status"] == "unfinished"
    assert "next generation: 0 of 4 members finished; continue: evolve resume run" in status(capsys)


def test_a_commit_that_is_missing_in_the_middle_is_reported(run, here, capsys):
    assert as_json(run)["missing_commit"] is None
    for generation in (3, 2, 1):
        (here / f"runs/run/gen/{generation:06d}/m").mkdir(exist_ok=True)
    (here / "runs/run/gen/000001/COMMIT.json").unlink()
    assert as_json(run)["missing_commit"] == 1
    said = status(capsys)
    assert "COMMIT 1 is missing, although later generations were begun" in said
    assert "evolve verify run --repair" in said and "no generation is finished yet" not in said
    with pytest.raises(BadInput, match="COMMIT 1 is missing"):
        delivery(reference(run))


@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf])
def test_a_target_that_is_no_finite_number_is_refused_and_writes_nothing(run, target, capsys):
    with pytest.raises(BadInput, match=r"--target: expected a finite number, got -?(nan|inf)"):
        extend_run(Settings(), "run", None, target)
    assert _main(["resume", "run", "--target", str(target)]) == 2
    assert "--target: expected" in capsys.readouterr().err
    with pytest.raises(ValueError, match="finite number"):
        make_config(**{"training.target": target})
    assert run.extensions() == [] and run.config().training.target == TARGET
