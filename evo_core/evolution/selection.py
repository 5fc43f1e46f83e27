"""Tournament selection with elitism."""

from collections.abc import Sequence

import numpy as np

from evo_core.config.sections import SelectionConfig
from evo_core.records.chain import Draw, Member


def selection_score(member: Member, fitness_window: int) -> float:
    """Average the last `fitness_window` fitnesses of a member's line; minus infinity for one that failed."""
    if member.fitness is None:
        return -np.inf
    line = (*member.offspring.ancestor_fitness, member.fitness)[-fitness_window:]
    return float(np.mean(line))


def select(scores: Sequence[float], size: int, config: SelectionConfig, rng: np.random.Generator) -> Draw:
    """Choose a parent for every slot of the next generation.

    With elitism the first slot is the elite's. Every other is the best of `tournament_size` members drawn without
    replacement (Miller and Goldberg 1995). NaN counts as minus infinity; neither is ever a parent. Equal scores have
    equal chances, as elite and in every tournament. ValueError when no member may be a parent.
    """
    table = np.where(np.isnan(scores), -np.inf, scores)
    eligible = np.flatnonzero(table > -np.inf)
    if not len(eligible):
        raise ValueError("selection: expected at least one finished member, got none")
    contestants = min(config.tournament_size, len(eligible))
    # all tournaments are drawn before any tie is broken: where none is, the draws are the same
    tournaments = [rng.choice(eligible, contestants, replace=False) for _ in range(size - config.elitism)]
    elite = _best(table, eligible, rng)
    parents = [elite] * config.elitism + [_best(table, tournament, rng) for tournament in tournaments]
    finite = tuple(float(score) if np.isfinite(score) else None for score in table)
    return Draw(elite=elite, parents=tuple(parents), scores=finite)


def _best(table: np.ndarray, indices: np.ndarray, rng: np.random.Generator) -> int:
    """Return the index with the highest score; `rng` draws one of several."""
    best = indices[table[indices] == table[indices].max()]
    return int(best[0] if len(best) == 1 else rng.choice(np.sort(best)))
