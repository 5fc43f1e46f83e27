"""Selection of parents: tournaments with elitism, or truncation as in population-based training."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from evo_core.config.evolution_sections import SelectionConfig
from evo_core.config.objectives import Objective
from evo_core.evaluation.aggregation import difference_and_error
from evo_core.records.chain import Draw, Member


def selection_score(member: Member, fitness_window: int, sign: int = 1) -> float:
    """Average the last `fitness_window` fitnesses of a member's line; minus infinity for one that failed.

    A score is better the higher it is; `sign` is -1 for a fitness that is better the lower it is.
    """
    if member.fitness is None:
        return -np.inf
    line = (*member.offspring.ancestor_fitness, member.fitness)[-fitness_window:]
    return sign * float(np.mean(line))


Replaces = Callable[[int, int], bool]
"""Whether the first of two members may take the place of the second."""


Choose = Callable[[np.ndarray, int, np.random.Generator], list[int]]
"""Chooses a number of parents among the indices of members that finished."""


def is_better(
    members: Sequence[Member], margin: float, objective: Objective, rng: np.random.Generator, one: int, other: int
) -> bool:
    """Return True if one member's episodes are better than another's by `margin` standard errors of the difference.

    Both have played the same seeds, so both had the same luck in each episode (Heidrich-Meisner and Igel 2009,
    "Hoeffding and Bernstein Races for Selecting Policies in Evolutionary Direct Policy Search"). Without a margin, and
    where episodes were not recorded, everyone is better. `rng` resamples where there is no closed form.
    """
    first, second = (members[index].evaluation for index in (one, other))
    if not margin or first is None or second is None:
        return True
    ones, others = first.episode_values, second.episode_values
    if ones is None or others is None:
        return True
    difference, error = difference_and_error(np.array(ones), np.array(others), objective, rng)
    return difference > margin * error


def select(
    scores: Sequence[float],
    size: int,
    config: SelectionConfig,
    rng: np.random.Generator,
    *,
    warming_up: bool = False,
    slots: int | None = None,
    replaces: Replaces = lambda one, other: True,
    choose: Choose | None = None,
) -> Draw:
    """Choose a parent for every slot of the next generation.

    `tournament`: with elitism the first slot is the elite's; every other is the best of `tournament_size` members drawn
    without replacement (Miller and Goldberg 1995). `truncation`: the worst `quantile` of the slots go to members drawn
    from the best `quantile`, and in all others the member of that slot goes on (Jaderberg et al. 2017, "Population
    Based Training of Neural Networks", section 4.1). `warming_up`: every member goes on, whatever its score. `slots`
    are the members before, those of the archive not counted, whose scores come last. Where they are more than `size`,
    the best go on (successive halving; Karnin et al. 2013). The best `archive` of all are its next entries.
    `replaces` may keep a member in its slot that truncation would replace; failed ones always go. `choose` takes the
    place of tournaments, with elitism for all slots but the first.

    NaN counts as minus infinity; neither is ever a parent. Equal scores have equal chances. ValueError when no member
    may be a parent.
    """
    table = np.where(np.isnan(scores), -np.inf, scores)
    eligible = np.flatnonzero(table > -np.inf)
    if not len(eligible):
        raise ValueError("selection: expected at least one finished member, got none")
    if slots is not None and slots > size:
        elite, parents = _shrink(table, slots, size, rng)
    elif warming_up or config.method == "truncation":
        elite, parents = _truncate(table, size, 0.0 if warming_up else config.quantile, replaces, rng)
    elif choose is not None:
        elite = _best(table, eligible, rng)
        parents = [elite] * config.elitism + choose(eligible, size - config.elitism, rng)
    else:
        elite, parents = _hold_tournaments(table, eligible, size, config, rng)
    archive = _ranked(table, rng)[: min(config.archive, len(eligible))].tolist() if config.archive else []
    finite = tuple(float(score) if np.isfinite(score) else None for score in table)
    return Draw(elite=elite, parents=tuple(parents), scores=finite, archive=tuple(archive))


def unmutated_slots(
    draw: Draw, config: SelectionConfig, *, warming_up: bool = False, slots: int | None = None
) -> set[int]:
    """Return the slots whose offspring is its parent unmutated: the elite's, and those of members that go on."""
    if slots is not None and slots > len(draw.parents):
        return first_slots(draw)
    if warming_up or config.method == "truncation":
        return {slot for slot, parent in enumerate(draw.parents) if parent == slot}
    return {0} if config.elitism else set()


def first_slots(draw: Draw) -> set[int]:
    """Return the first slot of every parent."""
    return {draw.parents.index(parent) for parent in draw.parents if parent is not None}


def _hold_tournaments(
    table: np.ndarray, eligible: np.ndarray, size: int, config: SelectionConfig, rng: np.random.Generator
) -> tuple[int, list[int]]:
    contestants = min(config.tournament_size, len(eligible))
    # all tournaments are drawn before any tie is broken: where none is, the draws are the same
    tournaments = [rng.choice(eligible, contestants, replace=False) for _ in range(size - config.elitism)]
    elite = _best(table, eligible, rng)
    return elite, [elite] * config.elitism + [_best(table, tournament, rng) for tournament in tournaments]


def _best(table: np.ndarray, indices: np.ndarray, rng: np.random.Generator) -> int:
    """Return the index with the highest score; `rng` draws one of several."""
    best = indices[table[indices] == table[indices].max()]
    return int(best[0] if len(best) == 1 else rng.choice(np.sort(best)))


def _truncate(
    table: np.ndarray, size: int, quantile: float, replaces: Replaces, rng: np.random.Generator
) -> tuple[int, list[int]]:
    """Replace the worst slots, which always include those that failed; without a quantile these alone, by anyone."""
    ranked = _ranked(table, rng)
    finished = ranked[np.isfinite(table[ranked])]
    count = min(math.ceil(quantile * size), size // 2)
    donors = finished[:count] if count else finished
    failed = int((table[:size] == -np.inf).sum())
    worst = ranked[ranked < size][size - max(count, failed) :]
    parents = list(range(size))
    for slot in sorted(worst.tolist()):
        donor = int(donors[rng.integers(len(donors))])
        if table[slot] == -np.inf or (slot not in donors and replaces(donor, slot)):
            parents[slot] = donor
    return int(ranked[0]), parents


def _shrink(table: np.ndarray, slots: int, size: int, rng: np.random.Generator) -> tuple[int, list[int]]:
    """Let the best of the slots go on, in their order; where too few finished, copies of them follow."""
    ranked = _ranked(table, rng)
    finished = ranked[np.isfinite(table[ranked])]
    best = np.sort(finished[finished < slots][:size])
    donors = best if len(best) else finished
    copies = [int(donors[rng.integers(len(donors))]) for _ in range(size - len(best))]
    return int(ranked[0]), [*best.tolist(), *copies]


def _ranked(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return all indices, the best first; `rng` decides the order of equal scores."""
    shuffled = rng.permutation(len(table))
    return np.asarray(shuffled[np.argsort(-table[shuffled], kind="stable")])
