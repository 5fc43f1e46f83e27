"""Ordering of members by several objectives: non-dominated sorting and crowding.

Deb, Pratap, Agarwal and Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II". Objectives are
[N, M], the higher the better in every column; a row with NaN belongs to a member that failed.
"""

from collections.abc import Sequence

import numpy as np


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    """Return True if one is at least as good in every objective, and better in one (section II)."""
    return bool((one >= other).all() and (one > other).any())


def front_ranks(objectives: np.ndarray) -> np.ndarray:
    """Return the number of each member's front, [N]: 0 if no member dominates it (section III-A).

    Members of front k are dominated only by members of fronts before it. Failed ones have -1.
    """
    count = len(objectives)
    ranks = np.full(count, -1)
    at_least = (objectives[:, None] >= objectives[None]).all(axis=2)
    better = (objectives[:, None] > objectives[None]).any(axis=2)
    dominating: np.ndarray = np.asarray(at_least & better)  # [i, j]: i dominates j
    left: np.ndarray = np.asarray(np.isfinite(objectives).all(axis=1))
    rank = 0
    while left.any():
        front = left & ~dominating[left].any(axis=0)
        ranks[front] = rank
        left &= ~front
        rank += 1
    return ranks


def crowding_distances(objectives: np.ndarray) -> np.ndarray:
    """Return how far the neighbors of each member of one front are, [N]; infinity at its ends (section III-B).

    Distances are relative to the front's extent in each objective. Members with equal objectives share a place: the
    first of them has the distance, the others have 0, so that copies crowd each other.
    """
    distances = np.zeros(len(objectives))
    places, first = np.unique(objectives, axis=0, return_index=True)
    found = np.zeros(len(places))
    for column in places.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        found[order[[0, -1]]] = np.inf
        if extent > 0:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    distances[first] = found
    return distances


def crowded_scores(objectives: np.ndarray) -> np.ndarray:
    """Return scores whose order is the crowded-comparison order, [N] (section III-B): fronts first, then distances.

    They count down from 0; members that are equal in both have equal scores. Failed ones have minus infinity.
    """
    ranks = front_ranks(objectives)
    distances = np.zeros(len(objectives))
    for rank in range(ranks.max(initial=-1) + 1):
        members = ranks == rank
        distances[members] = crowding_distances(objectives[members])
    keys = [(rank, -distance) for rank, distance in zip(ranks.tolist(), distances.tolist(), strict=True)]
    places = {key: -place for place, key in enumerate(sorted({key for key in keys if key[0] >= 0}))}
    return np.array([places.get(key, -np.inf) for key in keys])


def choose_knee(objectives: np.ndarray) -> int:
    """Return the index of a front's knee: the member farthest above the plane through its extremes.

    With every objective scaled to 0 for the front's worst and 1 for its best, that plane is Σ x = 1 where the extremes
    are best in one objective and worst in all others, and the distance grows with Σ x (Das 1999, "On Characterizing the
    Knee of the Pareto Curve Based on Normal-Boundary Intersection"). Ties, as of two members, go to the better in the
    first objective, then to the lower index.
    """
    low, high = objectives.min(axis=0), objectives.max(axis=0)
    scaled = (objectives - low) / np.where(high > low, high - low, 1.0)
    return best_index(np.column_stack([scaled.sum(axis=1).round(9), objectives[:, 0]]))


def best_index(keys: np.ndarray) -> int:
    """Return the index of the best row by the first column, ties by the next ones, then the lower index."""
    return max(range(len(keys)), key=lambda index: (*keys[index].tolist(), -index))


def thin_front(objectives: np.ndarray, size: int) -> Sequence[int]:
    """Return the indices of `size` members of a front, without the most crowded ones, in their order."""
    kept = list(range(len(objectives)))
    while len(kept) > size:
        distances = crowding_distances(objectives[kept])
        kept.pop(len(kept) - 1 - int(np.argmin(distances[::-1])))
    return kept
