"""Hyperparameter importance: the share of fitness differences between siblings that a hyperparameter explains.

Two things would mislead. Fitness is inherited, so members are compared with their siblings alone, who share parent,
weights and evaluation seeds. And values are inherited together, so one without effect spreads with one that has an
effect ("hitchhiking"); siblings share these values too, except those that have just mutated. Geneticists test families
instead of populations for the same reason (Abecasis, Cardon and Cookson 2000, "A general test of association for
quantitative traits in nuclear families").
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evo_core.config.network import ACTIVATION_NAMES
from evo_core.config.run_config import RunConfig
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Member

PERMUTATIONS = 400


@dataclass(frozen=True, slots=True)
class Importance:
    """The share of the variance between siblings that a hyperparameter's value explains, 0 to 1.

    A curve with one bend is fitted on the gene's own scale; a word has a mean each. `chance`: exchanging fitness among
    siblings explains less in 95 % of cases. `values`: how many values were tried; `compared`: members that differ from
    a sibling in this value.
    """

    name: str
    share: float
    chance: float
    values: int
    compared: int


def hyperparameter_importance(lineage: Lineage, config: RunConfig, rng: np.random.Generator) -> list[Importance]:
    """Compute the importance of every gene, and of the activation function if it evolves; the most important first.
    Empty without siblings."""
    families = [[s for s in siblings if s.fitness is not None] for siblings in lineage.trained_children.values()]
    members = [member for family in families if len(family) > 1 for member in family]
    if not members:
        return []
    family = np.repeat(np.arange(len(families)), [len(f) if len(f) > 1 else 0 for f in families])
    _, family = np.unique(family, return_inverse=True)
    fitness = _centered(np.array([[m.fitness] for m in members], np.float64), family)[:, 0]
    shuffled = np.stack([fitness[_within(family, rng)] for _ in range(PERMUTATIONS)])
    found = []
    for name, basis in _bases(config).items():
        columns = _centered(np.array([basis(member) for member in members], np.float64), family)
        values = {_value(member, name) for member in lineage.members.values()}
        compared = int((np.abs(columns).max(axis=1) > 1e-12).sum())
        share, *by_chance = _shares(columns, np.vstack([fitness, shuffled]))
        found.append(Importance(name, share, float(np.quantile(by_chance, 0.95)), len(values), compared))
    return sorted(found, key=lambda importance: importance.chance - importance.share)


def _bases(config: RunConfig) -> dict[str, Callable[[Member], list[float]]]:
    """Describe each hyperparameter's value by numbers of which the fitness may be a sum."""

    def curve(name: str) -> Callable[[Member], list[float]]:
        def powers(member: Member) -> list[float]:
            position = config.search[name].position(member.offspring.genome.hyperparameters[name])
            return [position, position**2]

        return powers

    bases = {name: curve(name) for name in sorted(config.search)}
    if config.mutation.activation:
        bases["activation"] = lambda m: [float(m.offspring.genome.activation == name) for name in ACTIVATION_NAMES[1:]]
    return bases


def _value(member: Member, name: str) -> float | str:
    genome = member.offspring.genome
    return genome.activation if name == "activation" else genome.hyperparameters[name]


def _centered(columns: np.ndarray, family: np.ndarray) -> np.ndarray:
    """Subtract each family's mean; [N, K]."""
    counts = np.bincount(family)
    means = np.stack([np.bincount(family, weights=column) / counts for column in columns.T], axis=1)
    return np.asarray(columns - means[family])


def _within(family: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a permutation that exchanges siblings alone; families stand one after the other."""
    return np.lexsort((rng.random(len(family)), family))


def _shares(columns: np.ndarray, fitnesses: np.ndarray) -> list[float]:
    """Compute the share of each row's variance [R, N] that the columns [N, K] explain."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    basis = left[:, singular > 1e-9 * max(1.0, float(singular.max(initial=0.0)))]
    explained = ((fitnesses @ basis) ** 2).sum(axis=1)
    total = (fitnesses**2).sum(axis=1)
    return [float(e / t) if t else 0.0 for e, t in zip(explained, total, strict=True)]
