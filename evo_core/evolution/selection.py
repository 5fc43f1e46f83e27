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
    replacement (Miller and Goldberg 1995). NaN counts as minus infinity; neither is ever a parent. Ties go to the
    lower index. ValueError when no member may be a parent.
    """
    table = np.where(np.isnan(scores), -np.inf, scores)
    eligible = np.flatnonzero(table > -np.inf)
    if not len(eligible):
        raise ValueError("selection: expected at least one finished member, got none")
    elite = _best(table, eligible)
    contestants = min(config.tournament_size, len(eligible))
    parents = [elite] if config.elitism else []
    while len(parents) < size:
        parents.append(_best(table, rng.choice(eligible, contestants, replace=False)))
    finite = tuple(float(score) if np.isfinite(score) else None for score in table)
    return Draw(elite=elite, parents=tuple(parents), scores=finite)


def _best(table: np.ndarray, indices: np.ndarray) -> int:
    ordered = np.sort(indices)
    return int(ordered[np.argmax(table[ordered])])
