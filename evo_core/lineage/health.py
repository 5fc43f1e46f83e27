"""Health of selection: extinction of lines, diversity of the population, and heritability of fitness."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from evo_core.config.run_config import RunConfig
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Generation

FEW = 3
"""Minimum number of pairs for a rank correlation."""


@dataclass(frozen=True, slots=True)
class Health:
    """Health of one generation. `founders`: how many of them still have descendants; `effective_parents`: how many
    equally used parents its members' parents are worth (inverse Simpson index), None for founders; `diversity`:
    standard deviation of the genes, each on its own scale with its range as 1, averaged (0.29 = spread evenly);
    `heritability`: Spearman's rank correlation of members' fitness with their parents', None for few pairs or where all
    are equal.
    """

    generation: int
    founders: int
    effective_parents: float | None
    diversity: float
    heritability: float | None


def selection_health(lineage: Lineage, config: RunConfig) -> list[Health]:
    """Describe every generation."""
    return [_health(lineage, config, commit) for commit in lineage.commits]


def _health(lineage: Lineage, config: RunConfig, commit: Generation) -> Health:
    members = [member for member in commit.members if not member.offspring.archived]
    parents = [m.offspring.parent for m in members if m.offspring.parent]
    shares = np.unique(parents, return_counts=True)[1] / max(len(parents), 1)
    genes = [
        np.std([gene.position(member.offspring.genome.hyperparameters[name]) for member in members])
        for name, gene in config.search.items()
    ]
    return Health(
        generation=commit.generation,
        founders=len({lineage.founders[member.uid] for member in members}),
        effective_parents=float(1 / (shares**2).sum()) if parents else None,
        diversity=float(np.mean(genes)) if genes else 0.0,
        heritability=_heritability(lineage, commit),
    )


def _heritability(lineage: Lineage, commit: Generation) -> float | None:
    pairs = [
        (parent.fitness, member.fitness)
        for member in commit.members
        if (parent := lineage.parent(member)) is not None and parent.fitness is not None and member.fitness is not None
    ]
    if len(pairs) < FEW:
        return None
    before, after = np.array(pairs).T
    if np.ptp(before) == 0 or np.ptp(after) == 0:
        return None
    return float(spearmanr(before, after).statistic)
