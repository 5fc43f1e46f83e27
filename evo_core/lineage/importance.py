"""Which hyperparameters mattered: how much of the members' gains over their parents their values explain.

Two things would mislead. Fitness is inherited, so gains are compared, as ranks within a generation. And values are
inherited together, so a value that did nothing rides along with one that won ("hitchhiking"); what chance gives is
therefore found by exchanging values between the mutations that brought them in, and not between members.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from evo_core.config import RunConfig
from evo_core.lineage.tree import Lineage
from evo_core.records import Member

PERMUTATIONS = 300
BINS = 8


@dataclass(frozen=True, slots=True)
class Importance:
    """The share of the variance of gains that a hyperparameter's value explains (correlation ratio, 0 to 1).

    `chance`: 95 % of what chance explains lies below; `values`: how many values were tried.
    """

    name: str
    share: float
    chance: float
    values: int


def hyperparameter_importance(lineage: Lineage, config: RunConfig, rng: np.random.Generator) -> list[Importance]:
    """Rate every gene, and the activation function if it evolves; the most important first. Empty without gains."""
    compared = [member for member in lineage.members.values() if lineage.gain(member) is not None]
    readers: dict[str, Callable[[Member], float | str]] = {
        name: lambda m, name=name: m.offspring.genome.hyperparameters[name]  # type: ignore[misc]
        for name in sorted(config.search)
    }
    if config.mutation.activation:
        readers["activation"] = lambda m: m.offspring.genome.activation
    if not compared:
        return []
    gains = _ranked(lineage, compared)
    found = [_importance(name, read, lineage, compared, gains, rng) for name, read in readers.items()]
    return sorted(found, key=lambda importance: importance.chance - importance.share)


def _ranked(lineage: Lineage, members: list[Member]) -> np.ndarray:
    """Rank gains within their generations, from -1 to 1."""
    gains = np.array([gain.value for member in members if (gain := lineage.gain(member)) is not None])
    generations = np.array([member.offspring.generation for member in members])
    ranks = np.zeros(len(members))
    for generation in np.unique(generations):
        here = generations == generation
        ranks[here] = 2 * (rankdata(gains[here]) - 0.5) / here.sum() - 1
    return ranks


def _importance(
    name: str,
    read: Callable[[Member], float | str],
    lineage: Lineage,
    members: list[Member],
    gains: np.ndarray,
    rng: np.random.Generator,
) -> Importance:
    origin = _origins(read, lineage)
    origins = np.array([origin[member.uid] for member in members])
    introduced, clone = np.unique(origins, return_inverse=True)
    value = {origin[uid]: read(member) for uid, member in lineage.members.items()}
    bins = _bins([value[number] for number in introduced.tolist()], np.bincount(clone))
    by_chance = [_share(gains, rng.permutation(bins)[clone]) for _ in range(PERMUTATIONS)]
    return Importance(name, _share(gains, bins[clone]), float(np.quantile(by_chance, 0.95)), len(set(value.values())))


def _origins(read: Callable[[Member], float | str], lineage: Lineage) -> dict[str, int]:
    """Number, for every member, the event that brought its value into its line: a mutation, or the beginning."""
    origins: dict[str, int] = {}
    first: dict[float | str, int] = {}
    for number, (uid, member) in enumerate(lineage.members.items()):
        parent = lineage.parent(member)
        if parent is None:
            origins[uid] = first.setdefault(read(member), number)
        else:
            origins[uid] = origins[parent.uid] if read(parent) == read(member) else number
    return origins


def _bins(values: list[float | str], counts: np.ndarray) -> np.ndarray:
    """Sort values into bins that hold about as many members each; words into one bin each."""
    _, order = np.unique(np.array(values), return_inverse=True)
    if isinstance(values[0], str):
        return np.asarray(order)
    below = np.array([counts[order < rank].sum() for rank in range(order.max() + 1)])
    middle = below + 0.5 * np.bincount(order, weights=counts)
    return np.asarray((middle * BINS / counts.sum()).astype(int)[order])


def _share(gains: np.ndarray, bins: np.ndarray) -> float:
    """Compute the correlation ratio: variance between bins over total variance."""
    counts = np.bincount(bins)
    sums = np.bincount(bins, weights=gains)
    total = float(((gains - gains.mean()) ** 2).sum())
    between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum() - gains.sum() ** 2 / len(gains))
    return between / total if total else 0.0
