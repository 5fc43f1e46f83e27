"""Adaptive population size: few lines as long as they improve, more once all have stalled.

Members that are trained side by side share the budget, so a population costs as many times the steps of a single agent
as it has members. Here a run begins with one line, the configured one, and spends its steps as a single agent would.
A line that has stalled makes room for others, twice as many each time, as restarts with increasing population size do
for CMA-ES (Auger and Hansen 2005, "A Restart CMA Evolution Strategy With Increasing Population Size").
"""

import math
from collections.abc import Sequence

import numpy as np

from evo_core.config.evolution_sections import PopulationConfig
from evo_core.records.chain import Draw, Evaluation, Member

ERRORS = 1.0
"""Standard errors of the difference by which a line that improves must exceed its earlier returns."""


def choose_lines(
    members: Sequence[Member], scores: Sequence[float], population: PopulationConfig, rng: np.random.Generator
) -> Draw:
    """Choose the lines of the next generation; a line's first slot is its own continuation, unmutated.

    The best member goes on. Beside it goes on the best of those that improve; where none does, those that are too
    young to be judged. Once all have stalled, there will be twice as many lines, up to `population.size`: in turn a new
    one (a parent of None) and a mutated child of the best.

    `scores` are minus infinity for members that failed. ValueError when all did.
    """
    finished = [index for index, score in enumerate(scores) if score > -np.inf]
    if not finished:
        raise ValueError("selection: expected at least one finished member, got none")
    ranked = sorted(rng.permutation(finished).tolist(), key=lambda index: -scores[index])
    improving = [index for index in ranked if improves(members[index], population.patience)]
    young = [index for index in finished if is_young(members[index], population.patience)]
    lines = list(dict.fromkeys([ranked[0], *(improving[:1] or young)]))
    parents: list[int | None] = [*lines]
    if not improving and not young:
        size = min(population.size, max(2, 2 * len(members)))
        parents += [ranked[0] if slot % 2 == 0 else None for slot in range(len(lines), size)]
    finite = tuple(float(score) if np.isfinite(score) else None for score in scores)
    return Draw(elite=ranked[0], parents=tuple(parents), scores=finite)


def is_young(member: Member, patience: int) -> bool:
    """Return True if a member's line has fewer earlier generations than `patience`."""
    return len(member.offspring.ancestor_progress) < patience


def improves(member: Member, patience: int) -> bool:
    """Return True if the returns in training exceed those of `patience` generations before."""
    if is_young(member, patience):
        return False
    now, error = progress(member)
    return now - member.offspring.ancestor_progress[-patience] > ERRORS * math.sqrt(2) * error


def progress(member: Member) -> tuple[float, float]:
    """Return the mean return of a finished member's training episodes, and about its standard error.

    There are several times as many of these as in evaluation, and they cost nothing. Their spread is taken to be that
    of the evaluation's, or, where that has none, as from a single episode or where all returns are equal, is that of
    the updates' means. Where no episode ended in training, evaluation takes their place. Returns are what training
    maximizes, whatever the fitness is.
    """
    assert member.evaluation is not None
    mean, error = _mean_return(member.evaluation)
    updates = [update for update in member.training.curve if update.episode_return is not None]
    count = sum(update.episodes for update in updates)
    if not count:
        return mean, error
    total = sum(update.episodes * (update.episode_return or 0.0) for update in updates)
    if error == 0.0:
        means = [update.episode_return or 0.0 for update in updates]
        return total / count, float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else 0.0
    return total / count, error * math.sqrt(member.evaluation.episodes / count)


def _mean_return(evaluation: Evaluation) -> tuple[float, float]:
    """Return an evaluation's mean return and its standard error; 0 for one episode."""
    mean, returns = evaluation.other_mean_return, evaluation.returns
    if mean is None or returns is None:
        return evaluation.fitness, evaluation.fitness_sem or 0.0
    return mean, float(np.std(returns, ddof=1) / math.sqrt(len(returns))) if len(returns) > 1 else 0.0
