"""AgileRL's rules in this core: its tournament, kinds of mutation and factors, and what it does to the optimizer."""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.arena.race import Candidate, Race
from benchmarks.arena.tasks import Described, Task
from evo_core.agent.agent import AgentState
from evo_core.agent.checkpoint import from_bytes, to_bytes
from evo_core.agent.transfer import perturb, transfer
from evo_core.config.run_config import evolvable_hyperparameters
from evo_core.evolution.mutation import mutate
from evo_core.genome.genome import Genome
from evo_core.records.chain import Mutation

RULES: Described = {
    "mutation": {
        "no_mutation": 0.4,
        "architecture": 0.2,
        "new_layer_prob": 0.2,
        "parameters": 0.2,
        "activation": 0.2,
        "rl_hp": 0.2,
    }
}
"""The probabilities of its tutorial on evolutionary PPO."""

FACTORS = (0.8, 1.2)


def agilerl(race: Race, task: Task, size: int = 6) -> None:
    """Tournaments of two with elitism; every member mutates, the elite too; one gene is multiplied by a factor.

    A mutation other than none starts the optimizer from zero. All founders have the configured values.
    """
    members, generation = [race.configured] * size, 0
    while True:
        generation += 1
        members = [race.advance(member, task.slice, generation) for member in members]
        best = max(members, key=lambda member: member.fitness)
        winners = [_tournament(members, race.rng) for _ in range(size - 1)]
        members = [_mutated(race, winner) for winner in (best, *winners)]


def _tournament(members: list[Candidate], rng: np.random.Generator) -> Candidate:
    first, second = (members[int(index)] for index in rng.choice(len(members), 2, replace=False))
    return first if first.fitness >= second.fitness else second


def _mutated(race: Race, parent: Candidate) -> Candidate:
    genome, mutation = mutate(parent.genome, race.config, race.rng)
    if mutation.kind == "none" or parent.blob is None:
        return parent
    if mutation.kind == "rl_hp":
        genome = _scaled(race, parent.genome, mutation)
    state = transfer(from_bytes(parent.blob, race.spaces), genome, race.spaces, race.rng)
    if mutation.kind == "parameters":
        state = perturb(state, race.config.mutation.mutation_sd, race.rng)
    return replace(parent, genome=genome, blob=to_bytes(_without_moments(state)))


def _scaled(race: Race, genome: Genome, mutation: Mutation) -> Genome:
    """Multiply the gene that the core's mutation chose, within its range."""
    name = str(mutation.what)
    gene, value = race.config.search[name], genome.hyperparameters[name]
    moved = min(max(float(value * race.rng.choice(FACTORS)), gene.min), gene.max)
    genes = {**genome.hyperparameters, name: round(moved) if evolvable_hyperparameters()[name] is int else moved}
    return genome.model_copy(update={"hyperparameters": genes})


def _without_moments(state: AgentState) -> AgentState:
    first, second = ({name: torch.zeros_like(weight) for name, weight in state.weights.items()} for _ in range(2))
    return replace(state, exp_avg=first, exp_avg_sq=second, optimizer_steps=0)
