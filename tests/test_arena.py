"""The arena of `benchmarks/arena`: every arm runs, counts all steps, and is not run again."""

import json

import pytest

from benchmarks.arena.arms import ARMS
from benchmarks.arena.records import append, read
from benchmarks.arena.running import run, run_all
from benchmarks.arena.tasks import TASKS, configuration

BUDGET = 6_000
SLICE = TASKS["cartpole"].slice
LONGEST_EVALUATION = 500 * TASKS["cartpole"].episodes


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    path = tmp_path_factory.mktemp("arena") / "records.jsonl"
    run_all([("cartpole", "wide", arm, 0) for arm in ARMS], path, budget=BUDGET)
    return path


def test_every_arm_spends_its_budget_and_no_more_than_a_slice_beyond(records):
    found = {record.arm: record for record in read([records])}
    assert found.keys() == ARMS.keys()
    for record in found.values():
        assert record.train_steps % SLICE == 0
        assert BUDGET <= record.train_steps + record.eval_steps < BUDGET + 3 * SLICE + LONGEST_EVALUATION
        assert [point.steps for point in record.points] == sorted({point.steps for point in record.points})
        assert [point.fitness for point in record.points] == sorted({point.fitness for point in record.points})
        assert record.points and len(record.final) == 100


def test_what_is_in_the_file_is_not_run_again(records):
    keys = [("cartpole", "wide", arm, 0) for arm in ARMS]
    assert run_all(keys, records, budget=BUDGET) == 0


def test_the_same_arm_and_seed_give_the_same_record(records):
    (known,) = (record for record in read([records]) if record.arm == "asha")
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


@pytest.mark.parametrize("start", ["wide", "bad", "good"])
@pytest.mark.parametrize("task", TASKS)
def test_every_start_is_a_valid_configuration(task, start):
    config = configuration(TASKS[task], start, seed=3)
    assert (config.seed, config.training.evo_steps, config.env.kwargs) == (3, TASKS[task].slice, TASKS[task].kwargs)
    assert ("vf_coef" in config.search) == (start != "good")
