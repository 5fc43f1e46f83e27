"""ASHA (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2) whose trials continue."""

from benchmarks.arena.portfolio import proposals
from benchmarks.arena.race import Race
from benchmarks.arena.tasks import Task


def asha(race: Race, task: Task, first: int = 1, eta: int = 3, published: bool = False) -> None:
    """Promote the best 1/eta of each rung from their checkpoints; start a drawn candidate when none can be promoted.

    Rung k has been trained for first × eta^k slices; the rungs are open above. The first candidate has the configured
    values, others are drawn, or `published` ones in turn with drawn ones. One worker, so nothing is promoted wrongly
    because others are late.
    """
    rungs: list[list[tuple[float, int]]] = [[]]  # fitness and number of the candidates that have arrived
    promoted: list[set[int]] = [set()]
    candidates, others = [race.configured], proposals(race, published)
    started = 0
    while True:
        rung, number = _promotable(rungs, promoted, eta)
        if rung:
            promoted[rung - 1].add(number)
        else:
            number, started = started, started + 1
            candidates += [next(others)] if number else []
        if rung == len(rungs):
            rungs.append([])
            promoted.append(set())
        steps = first * eta**rung * task.slice - candidates[number].steps
        candidates[number] = race.advance(candidates[number], steps)
        rungs[rung].append((candidates[number].fitness, number))


def _promotable(rungs: list[list[tuple[float, int]]], promoted: list[set[int]], eta: int) -> tuple[int, int]:
    """Return the rung to train next and the candidate, from the highest rung down; rung 0 asks for a new one."""
    for rung in reversed(range(len(rungs))):
        best = sorted(rungs[rung], reverse=True)[: len(rungs[rung]) // eta]
        for _, number in best:
            if number not in promoted[rung]:
                return rung + 1, number
    return 0, 0
