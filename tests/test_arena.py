"""The arena of `benchmarks/arena`: every arm runs, counts all steps, and is not run again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.arena import metrics, race, running
from benchmarks.arena.arms import OVERRIDES
from benchmarks.arena.arms.gaussian_process import fit
from benchmarks.arena.arms.ours import together
from benchmarks.arena.figures import arrivals
from benchmarks.arena.race import Point
from benchmarks.arena.records import append, read
from benchmarks.arena.running import run, run_all
from benchmarks.arena.tables import comparison, table
from benchmarks.arena.tasks import TASKS, configuration

BUDGET = 3_000  # two or three slices
SMOKE = ("fixed", "random", "asha-zoo", "pbt-4", "pb2", "agilerl", "tpe", "all-4", "adaptive-kl")  # every kind of arm
SLICE = TASKS["cartpole"].slice
LONGEST_EVALUATION = 500 * TASKS["cartpole"].episodes


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of short runs, with few episodes in tests."""
    path = tmp_path_factory.mktemp("arena") / "records.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "TESTED", 3)
        patch.setattr(running, "FINAL", 5)
        run_all([("cartpole", "wide", arm, 0) for arm in SMOKE], path, budget=BUDGET)
    return path


def test_every_arm_spends_its_budget_and_no_more_than_a_slice_beyond(records):
    found = {record.arm: record for record in read([records])}
    assert found.keys() == set(SMOKE)
    for record in found.values():
        assert record.train_steps % SLICE == 0
        assert BUDGET <= record.train_steps + record.eval_steps < BUDGET + 3 * SLICE + LONGEST_EVALUATION
        assert [point.steps for point in record.points] == sorted({point.steps for point in record.points})
        assert record.points and len(record.final) == 5


def test_records_in_the_file_are_not_run_again(records):
    keys = [("cartpole", "wide", arm, 0) for arm in SMOKE]
    assert run_all(keys, records, budget=BUDGET) == 0


def test_the_same_arm_and_seed_give_the_same_record(records, monkeypatch):
    monkeypatch.setattr(race, "TESTED", 3)
    (known,) = (record for record in read([records]) if record.arm == "asha-zoo")
    again = run(known.key, budget=BUDGET)
    assert (again.train_steps, again.eval_steps) == (known.train_steps, known.eval_steps)
    assert [round(point.test, 3) for point in again.points] == [point.test for point in known.points]


def test_a_record_that_was_cut_off_is_run_again(records, tmp_path):
    path = tmp_path / "records.jsonl"
    lines = records.read_text().splitlines()
    path.write_text(f"{lines[0]}\n{lines[1][:100]}")
    known = read([records])
    assert [record.key for record in read([path])] == [known[0].key]
    append(path, known[1])
    assert read([path]) == known[:2]
    assert json.loads(path.read_text().splitlines()[-1])["arm"] == known[1].arm


@pytest.mark.parametrize("arm", OVERRIDES)
@pytest.mark.parametrize("start", ["wide", "good"])
def test_every_arm_is_a_valid_configuration(arm, start):
    config = configuration(TASKS["pendulum"], start, 0, OVERRIDES[arm])
    assert ("lr" in config.search) != ("desired_kl" in config.search)


def test_ingredients_are_put_together_section_by_section():
    assert together({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": {"z": 4}}) == {"a": {"x": 1, "y": 3}, "b": {"z": 4}}


@pytest.mark.parametrize("start", ["wide", "bad", "good"])
@pytest.mark.parametrize("task", TASKS)
def test_every_start_is_a_valid_configuration(task, start):
    config = configuration(TASKS[task], start, seed=3)
    assert (config.seed, config.training.evo_steps, config.env.kwargs) == (3, TASKS[task].slice, TASKS[task].kwargs)
    assert ("vf_coef" in config.search) == (start != "good")


def runs(known, arm, *steps):
    """Make records of a budget of 100 k whose incumbent reaches the target after these steps (None: never)."""
    made = []
    for seed, reached in enumerate(steps):
        points = [Point(10_000, "a", 100, 20.0)] + ([Point(reached, "b", 480, 475.0)] if reached else [])
        made.append(replace(known, arm=arm, seed=seed, budget=100_000, points=tuple(points), final=(float(seed),)))
    return made


@pytest.fixture(scope="module")
def known(records):
    return read([records])[0]


def test_times_to_target_are_censored_at_the_budget(known):
    ours = runs(known, "ours", 20_000, 40_000, None, 60_000)
    assert [metrics.steps_to_target(record) for record in ours[1:3]] == [(40_000, True), (100_000, False)]
    assert metrics.success(ours) == (3, 4)
    assert metrics.restricted_mean(ours) == pytest.approx((20 + 40 + 60 + 100) * 1000 / 4)
    assert metrics.median(ours) == 40_000
    assert metrics.median(runs(known, "never", None, None)) == float("inf")
    assert metrics.restricted_mean(runs(known, "never", None, None)) == 100_000
    late = runs(known, "late", 120_000)  # a slice that began within the budget and ended beyond it
    assert metrics.steps_to_target(late[0]) == (100_000, False)


def test_the_log_rank_test_tells_arms_apart(known):
    soon, late = runs(known, "soon", *range(20_000, 28_000, 1_000)), runs(known, "late", *[None] * 8)
    assert metrics.log_rank(soon, late) < 0.001
    assert metrics.log_rank(soon, soon) == pytest.approx(1)


def test_the_area_weighs_normalized_scores_by_steps(known):
    (record,) = runs(
        known, "ours", 60_000
    )  # 20 is the floor, so 0 until the target is reached: 1 for 40 % of the steps
    assert metrics.area(record, floor=20) == pytest.approx(0.4)
    assert np.isnan(metrics.area(replace(record, stopped=True), floor=20))


def test_scores_are_summarized_as_by_hand():
    assert metrics.interquartile_mean(np.array([0.0, 1, 2, 3, 4, 5, 6, 99])) == 3.5
    assert metrics.improvement([1, 2, 3], [0, 2, 9]) == pytest.approx(4.5 / 9)


def test_the_ratio_of_paired_runs_lies_in_its_interval(known):
    ours, theirs = runs(known, "ours", 20_000, 40_000, 30_000), runs(known, "theirs", 40_000, 80_000, 60_000)
    ratio = metrics.paired_ratio({"task": list(zip(ours, theirs, strict=True))})
    assert ratio == pytest.approx((0.5, 0.5, 0.5))
    theirs[2] = runs(known, "theirs", None)[0]
    ratio = metrics.paired_ratio({"task": list(zip(ours, theirs, strict=True))})
    assert ratio.value == pytest.approx(90 / 220)
    assert 0.3 <= ratio.low < ratio.value < ratio.high <= 0.5


def test_tables_and_figures_name_every_arm(known):
    both = runs(known, "ours", 20_000, 40_000) + runs(known, "theirs", None, 60_000)
    text = "\n".join([*table(both), *comparison(both, "ours", "theirs")])
    assert text.index("| `ours` | 2/2 | **30** [20, 40]") < text.index("| `theirs` | 1/2 |")
    assert "| cartpole, wide | 2 | 2 : 1 | 20 : 60 | **0.38**" in text
    assert [trace.name for trace in arrivals(both).data] == ["ours (2/2)", "theirs (1/2)"]


def test_the_gaussian_process_learns_signal_noise_and_uncertainty():
    rng = np.random.default_rng(0)
    points = rng.random((80, 1))
    targets = np.sin(6 * points[:, 0]) + rng.normal(0, 0.1, 80)
    posterior = fit(np.zeros(80), points, targets)
    mean, deviation = posterior.predict(0, np.array([[0.3], [0.7], [3.0]]))
    assert mean[:2] == pytest.approx(np.sin([1.8, 4.2]), abs=0.15)
    assert np.exp(posterior.parameters[2]) == pytest.approx(0.1, rel=0.4)
    assert deviation[0] < 0.1 and deviation[2] == pytest.approx(1, abs=0.05)
