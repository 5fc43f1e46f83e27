"""The Pareto front of a run: the members that no other dominates, and which of them is delivered."""

from collections.abc import Sequence

import numpy as np

from evo_core.config.evaluation_section import KNEE, EvaluationConfig
from evo_core.evolution.nsga2 import choose_knee, crowded_scores, front_ranks, thin_front
from evo_core.records.chain import EliteRef, Member

LARGEST_FRONT = 50
"""Most members of the front of a run; of more, the most crowded ones are left out."""


def member_objectives(members: Sequence[Member], evaluation: EvaluationConfig, window: int) -> np.ndarray:
    """Return the objectives of members, [N, M], the higher the better; NaN for those that failed.

    Each is the mean of the last `window` generations of the member's line.
    """
    signs = [objective.sign for objective in evaluation.all_objectives]
    rows = []
    for member in members:
        if member.evaluation is None:
            rows.append([np.nan] * len(signs))
            continue
        offspring, others = member.offspring, tuple(one.value for one in member.evaluation.objectives)
        before = zip(offspring.ancestor_fitness, offspring.ancestor_objectives, strict=True)
        line = [*((fitness, *more) for fitness, more in before), (member.evaluation.fitness, *others)][-window:]
        rows.append(np.mean(line, axis=0).tolist())
    return np.array(rows, np.float64).reshape(len(members), len(signs)) * signs


def score_members(members: Sequence[Member], evaluation: EvaluationConfig, window: int) -> list[float]:
    """Return the selection scores of members by all objectives: the order of NSGA-II, before which stands the one of
    the first front that would be delivered.
    """
    objectives = member_objectives(members, evaluation, window)
    scores = crowded_scores(objectives)
    front = np.flatnonzero(front_ranks(objectives) == 0)
    if len(front):
        scores[front[choose(objectives[front], evaluation, evaluation.deliver)]] = 1.0
    return [float(score) for score in scores]


def choose(objectives: np.ndarray, evaluation: EvaluationConfig, rule: str) -> int:
    """Return the index in a front, [N, M], of the one that a rule delivers; the knee breaks ties of other rules."""
    if rule == KNEE:
        return choose_knee(objectives)
    best = objectives[:, evaluation.delivery_rules.index(rule) - 1]
    ties = np.flatnonzero(best == best.max())
    return int(ties[choose_knee(objectives[ties])])


def extend_front(
    front: Sequence[EliteRef], members: Sequence[EliteRef], evaluation: EvaluationConfig
) -> list[EliteRef]:
    """Return the members of a front and new ones that none of them dominates; of equal ones the earliest."""
    first: dict[tuple[float, ...], EliteRef] = {}
    for one in (*front, *members):
        first.setdefault(objectives_of(one), one)
    every = list(first.values())
    table = front_table(every, evaluation)
    found = [every[index] for index in np.flatnonzero(front_ranks(table) == 0)]
    return [found[index] for index in thin_front(front_table(found, evaluation), LARGEST_FRONT)]


def choose_from_front(front: Sequence[EliteRef], evaluation: EvaluationConfig, rule: str) -> EliteRef:
    """Return the member of a front that a rule delivers."""
    return front[choose(front_table(front, evaluation), evaluation, rule)]


def front_table(front: Sequence[EliteRef], evaluation: EvaluationConfig) -> np.ndarray:
    """Return the objectives of a front, [N, M], the higher the better."""
    signs = [objective.sign for objective in evaluation.all_objectives]
    return np.array([objectives_of(one) for one in front], np.float64).reshape(len(front), len(signs)) * signs


def objectives_of(elite: EliteRef) -> tuple[float, ...]:
    """Return fitness and further objectives of an elite, in the orientation in which they are measured."""
    return elite.fitness, *(one.value for one in elite.objectives)
