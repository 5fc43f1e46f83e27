"""PB2 (Parker-Holder et al. 2020): PBT whose new genes maximize an upper confidence bound of the fitness gained."""

import numpy as np

from benchmarks.arena.arms.gaussian_process import fit
from benchmarks.arena.arms.pbt import exploited
from benchmarks.arena.race import Candidate, Hyperparameters, Race
from benchmarks.arena.tasks import Task
from evo_core.config.run_config import evolvable_hyperparameters

PROPOSALS = 1_000
REMEMBERED = 200
"""Latest observations that the process is conditioned on."""

Observation = tuple[float, np.ndarray, float]
"""Generation, genes in the unit cube [D], gain of fitness."""


def pb2(race: Race, task: Task, size: int = 4) -> None:
    """Replace the worst quarter by copies of the best after every slice, with genes that the process proposes."""
    members = [race.configured, *(race.draw() for _ in range(size - 1))]
    observations: list[Observation] = []
    generation = 0
    while True:
        generation += 1
        before = members
        members = [race.advance(member, task.slice, generation) for member in before]
        for old, new in zip(before, members, strict=True):
            if np.isfinite(old.fitness) and np.isfinite(new.fitness):
                observations.append((generation, _cube(race, new), new.fitness - old.fitness))
        chosen: list[np.ndarray] = []
        for loser, winner in exploited(members, race.rng):
            members[loser], point = _proposed(race, members[winner], observations, chosen, generation + 1)
            chosen.append(point)


def _proposed(
    race: Race, parent: Candidate, observations: list[Observation], chosen: list[np.ndarray], generation: int
) -> tuple[Candidate, np.ndarray]:
    """Return the parent with the proposed genes, drawn while there is too little to learn from, and their point.

    What was already chosen in this generation counts as seen, with its predicted gain (Desautels et al. 2014).
    """
    names, count = list(parent.hyperparameters), len(parent.hyperparameters)
    points = race.rng.random((PROPOSALS, count))
    if len(observations) < 4:
        return _at(race, parent, names, points[0]), points[0]
    times, seen, gains = (np.array(column) for column in zip(*observations[-REMEMBERED:], strict=True))
    targets = (gains - gains.mean()) / (gains.std() + 1e-9)
    posterior = fit(times, seen, targets)
    if chosen:
        imagined, _ = posterior.predict(generation, np.array(chosen))
        posterior = fit(
            np.append(times, np.full(len(chosen), generation)), np.vstack([seen, chosen]), np.append(targets, imagined)
        )
    mean, deviation = posterior.predict(generation, points)
    bonus = np.sqrt(0.2 + np.log(1 + 0.4 * generation))  # as in the authors' code
    best = points[np.argmax(mean + bonus * deviation)]
    return _at(race, parent, names, best), best


def _cube(race: Race, candidate: Candidate) -> np.ndarray:
    return np.array([race.config.search[name].position(value) for name, value in candidate.hyperparameters.items()])


def _at(race: Race, parent: Candidate, names: list[str], point: np.ndarray) -> Candidate:
    genes: Hyperparameters = {}
    for name, position in zip(names, point, strict=True):
        value = race.config.search[name].value(float(position))
        genes[name] = round(value) if evolvable_hyperparameters()[name] is int else value
    return race.with_genes(parent, genes)
