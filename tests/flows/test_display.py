"""The live table and the plain lines, with the records of a real run."""

import io

import pytest
from rich.console import Console

from evo_core.evaluation.run_end import Ending
from evo_core.local import train_on_policy
from flows.cli.ending import ExitReport
from flows.observers.terminal import LineObserver, LiveObserver, describe_beginning, display
from flows.outcome import summarize
from flows.settings import Settings
from tasks.views.phrases import describe_evaluation_steps, describe_mutation
from tests.conftest import make_config

CONFIG = make_config()


@pytest.fixture(scope="module")
def result():
    return train_on_policy(CONFIG)


def replay(observer, result, upto=3):
    """Call an observer as the run would have."""
    observer.began("my-run", result.commits[0])
    for commit in result.commits[1 : upto + 1]:
        observer.generation_began(result.commits[commit.generation - 1].offspring)
        for member in commit.members:
            observer.progressed(member.uid, 128)
            observer.trained(member.training)
            observer.evaluated(member)
        if commit.generation < upto:
            observer.committed(commit)


def test_a_file_gets_plain_lines(result):
    out = io.StringIO()
    console = Console(file=out, width=200)
    with display(console, CONFIG) as observer:
        assert type(observer) is LineObserver
        replay(observer, result)
        observer.confirmed(result.confirmed)
        observer.warned("something [odd]")
    lines = out.getvalue().splitlines()
    assert lines[0] == "run my-run starts: population 3, at most 3 generations of 768 steps, 768 for each line"
    assert lines[1].startswith("generation   1/3  best ")
    assert "768 steps" in lines[1]
    assert lines[-2].startswith(f"confirmed {result.elite.uid}: ")
    assert lines[-1] == "warning: something [odd]"
    assert "\x1b" not in out.getvalue()


def test_unspent_steps_of_a_budget_are_reported_at_start_and_end(result):
    config = make_config(**{"training.max_steps": 3000})
    assert describe_beginning("my-run", result.commits[0], config) == (
        "run my-run starts: population 3, at most 3 generations of 768 steps, 768 for each line; 696 of 3,000 "
        "steps are left over, less than a generation of 768; a budget of 2,304 or 3,072 leaves none"
    )
    ending = Ending("budget_spent", result.elite, result.confirmed)
    summary = summarize("my-run", result.commits[-1], ending)
    report = ExitReport("my-run", config, Settings(), summary, None, 1.0)
    assert any("left over   696 of 3,000 steps" in line for line in report._outcome())
    assert report.as_json()["left_over_steps"] == 696
    share = describe_evaluation_steps(summary.eval_steps, summary.train_steps)
    assert any(line.endswith(f"; evaluated {share}") for line in report._outcome())
    even = ExitReport("my-run", CONFIG, Settings(), summary, None, 1.0)
    assert "left over" not in " ".join([*even._outcome(), describe_beginning("my-run", result.commits[0], CONFIG)])


def test_a_population_that_shrinks_is_described_by_its_sizes(result):
    sizes = {"population.schedule": [6, 4], "training.max_steps": 256 * 14}
    said = describe_beginning("my-run", result.commits[0], make_config(**sizes))
    assert "population 6, 4, then 3, at most 3 generations of 768 steps, 768 for each line" in said
    assert "256 of 3,584 steps are left over, less than a generation of 768; a budget of 3,328 or 4,096" in said


def test_the_share_of_evaluation_is_of_all_steps():
    assert describe_evaluation_steps(25_000, 75_000) == "25,000 steps (25 % of all)"
    assert describe_evaluation_steps(0, 0) == "0 steps (0 % of all)"


def test_a_terminal_gets_a_table_of_the_running_generation(result):
    console = Console(file=io.StringIO(), width=160, force_terminal=True, record=True)
    observer = LiveObserver(console, CONFIG)
    replay(observer, result)
    console.print(observer)
    shown = console.export_text()
    for member in result.commits[-1].members:
        assert member.uid.split("/")[1] in shown
        assert member.offspring.parent.split("/")[1] in shown
        assert f"{member.evaluation.fitness:.1f} ± {member.evaluation.fitness_sem:.1f}" in shown
        assert describe_mutation(member.offspring.mutation) in shown
        assert f"{member.offspring.genome.hyperparameters['lr']:.4g}" in shown
    assert "2,304/2,304 steps" in shown
    assert "steps/s" in shown


def test_eighty_columns_show_member_fitness_and_phase_whole(result):
    console = Console(file=io.StringIO(), width=80, force_terminal=True, record=True)
    observer = LiveObserver(console, CONFIG)
    replay(observer, result)
    console.print(observer)
    shown = console.export_text()
    for member in result.commits[-1].members:
        assert f"│ {member.uid.split('/')[1]} " in shown
        assert f"{member.evaluation.fitness:.1f} ± {member.evaluation.fitness_sem:.1f}" in shown
    assert shown.count("│ done") == 3


def test_members_that_the_store_already_had_do_not_count_in_the_rate(result):
    observer = LineObserver(Console(file=io.StringIO()), CONFIG)
    observer.began("my-run", result.commits[0])
    first, second, third = result.commits[1].members
    observer.progressed(second.uid, 0)
    for member in (first, second, third):
        observer.trained(member.training)
    assert observer._start_steps == first.training.steps + third.training.steps


def test_the_live_table_follows_the_phases_of_members(result):
    console = Console(file=io.StringIO(), width=160, force_terminal=True, record=True)
    observer = LiveObserver(console, CONFIG)
    observer.began("my-run", result.commits[0])
    observer.generation_began(result.commits[0].offspring)
    observer.progressed("g0001/m00", 128)
    observer.trained(result.commits[1].members[1].training)
    console.print(observer)
    rows = {line.split()[1]: line for line in console.export_text().splitlines() if "│ m0" in line}
    assert "training" in rows["m00"]
    assert "128" in rows["m00"]
    assert "evaluating" in rows["m01"]
    assert "waiting" in rows["m02"]
    observer.progressed("unknown", 5)  # of a generation that is over: ignored
