"""Effect of mutations: mutated offspring compared with unmutated siblings of the same parent.

A child's fitness is mostly its parent's. Siblings share the parent, its weights and the evaluation seeds, so what is
left between a mutated and an unmutated one is the mutation, and noise.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evo_core.evaluation.intervals import mean_interval
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Member


@dataclass(frozen=True, slots=True)
class Worth:
    """Mean difference in fitness to unmutated siblings; None when no offspring could be compared.

    `ci95`: Student's t over families, whose members are not independent; None for fewer than three families. `count`
    offspring were compared, `failed` ones could not be.
    """

    name: str
    mean: float | None
    ci95: tuple[float, float] | None
    count: int
    families: int
    failed: int


def by_kind(member: Member) -> str:
    """Return a member's kind of mutation."""
    return member.offspring.mutation.kind


def by_part(member: Member) -> str:
    """Return what a member's mutation changed."""
    mutation = member.offspring.mutation
    return f"{mutation.kind} {mutation.what}" if mutation.what else mutation.kind


def mutation_worth(lineage: Lineage, name: Callable[[Member], str] = by_kind) -> list[Worth]:
    """Measure every kind of mutation, the most frequent first."""
    differences: dict[str, list[list[float]]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    for siblings in lineage.trained_children.values():
        control = [s.fitness for s in siblings if s.offspring.mutation.kind == "none" and s.fitness is not None]
        family: dict[str, list[float]] = defaultdict(list)
        for child in siblings:
            if child.offspring.mutation.kind == "none":
                continue
            if child.fitness is None:
                failed[name(child)] += 1
            elif control:
                family[name(child)].append(child.fitness - float(np.mean(control)))
        for key, found in family.items():
            differences[key].append(found)
    worths = [_worth(key, differences[key], failed[key]) for key in sorted({*differences, *failed})]
    return sorted(worths, key=lambda worth: -worth.count)


def _worth(name: str, families: list[list[float]], failed: int) -> Worth:
    means, counts = np.array([np.mean(f) for f in families]), np.array([float(len(f)) for f in families])
    mean = float(np.average(means, weights=counts)) if families else None
    interval = mean_interval(means, counts) if families else None
    return Worth(name, mean, interval, int(counts.sum()), len(families), failed)
