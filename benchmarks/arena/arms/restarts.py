"""What a researcher does without a search: the configured values once or several times, or drawn values."""

from benchmarks.arena.race import Candidate, Race
from benchmarks.arena.tasks import Task


def restarts(race: Race, task: Task, runs: int) -> None:
    """Train the configured values in `runs` runs of equal length, from one random start after another (best of N)."""
    while True:
        _whole_run(race, task, race.configured, runs)


def random_search(race: Race, task: Task, runs: int) -> None:
    """Make `runs` runs of equal length, the first of the configured values (Bergstra and Bengio 2012)."""
    candidate = race.configured
    while True:
        _whole_run(race, task, candidate, runs)
        candidate = race.draw()


def _whole_run(race: Race, task: Task, candidate: Candidate, runs: int) -> None:
    """Train a candidate until it has had its share of the budget, evaluations included, or has failed."""
    end = race.steps + race.budget / runs
    while race.steps < end:
        candidate = race.advance(candidate, task.slice)
        if candidate.fitness == -float("inf"):
            return
