"""Population based training (Jaderberg et al. 2017) by the rules of Ray Tune."""

import numpy as np

from benchmarks.arena.race import Candidate, Hyperparameters, Race
from benchmarks.arena.tasks import Task
from evo_core.config.run_config import evolvable_hyperparameters

QUANTILE = 0.25
RESAMPLE = 0.25
FACTORS = (0.8, 1.25)


def pbt(race: Race, task: Task, size: int = 8) -> None:
    """Replace the worst quarter by copies of the best after every slice, whose genes are perturbed or drawn anew."""
    members = [race.configured, *(race.draw() for _ in range(size - 1))]
    generation = 0
    while True:
        generation += 1
        members = [race.advance(member, task.slice, generation) for member in members]
        for loser, winner in exploited(members, race.rng):
            members[loser] = race.with_genes(members[winner], explored(race, members[winner]))


def exploited(members: list[Candidate], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pair each of the worst quarter with one of the best quarter, drawn: (loser, winner)."""
    order = np.argsort([member.fitness for member in members], kind="stable")
    count = max(1, round(QUANTILE * len(members)))
    return [(int(loser), int(rng.choice(order[-count:]))) for loser in order[:count]]


def explored(race: Race, parent: Candidate) -> Hyperparameters:
    """Draw each gene anew with probability RESAMPLE, else multiply it by one of FACTORS, within its range."""
    genes: Hyperparameters = {}
    for name, value in parent.hyperparameters.items():
        gene, integer = race.config.search[name], evolvable_hyperparameters()[name] is int
        if race.rng.random() < RESAMPLE:
            genes[name] = gene.sample(race.rng, integer=integer)
            continue
        moved = min(max(value * race.rng.choice(FACTORS), gene.min), gene.max)
        genes[name] = round(moved) if integer else float(moved)
    return genes
