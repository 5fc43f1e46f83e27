"""Mutations: pure functions from a genome and a generator to a genome and a record of what changed.

How weights follow from parent to child is decided by the two genomes alone (`evo_core.agent.transfer`), but for
the noise of a `parameters` mutation.
"""

from collections.abc import Callable

import numpy as np

from evo_core.config.network import ACTIVATION_NAMES, BoundsConfig
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.evolution.mutation_plugins import mutate_by_plugin
from evo_core.genome.architecture import Change, layer_changes, sizes_within
from evo_core.genome.genome import Architecture, Genome
from evo_core.records.chain import Mutation

Mutated = tuple[Genome, Mutation]
NONE = Mutation(kind="none")


def mutate(genome: Genome, config: RunConfig, rng: np.random.Generator) -> Mutated:
    """Draw a kind of mutation by the configured weights and apply it.

    A kind that cannot apply to this genome (no gene, no room within the bounds) is recorded as none.
    """
    own, plugins = {kind: getattr(config.mutation, kind) for kind in OPERATORS}, config.mutation.plugins
    relative = {**own, **{name: plugins[name] for name in sorted(plugins)}}
    weights = np.array(list(relative.values()), np.float64)
    kind = list(relative)[rng.choice(len(weights), p=weights / weights.sum())]
    return OPERATORS[kind](genome, config, rng) if kind in OPERATORS else mutate_by_plugin(kind, genome, config, rng)


def no_mutation(genome: Genome, config: RunConfig, rng: np.random.Generator) -> Mutated:
    """Return the genome unchanged."""
    return genome, NONE


def mutate_architecture(genome: Genome, config: RunConfig, rng: np.random.Generator) -> Mutated:
    """Add or remove a layer (with probability `new_layer_prob`), or nodes of one layer, or latent units."""
    changes = architecture_changes(genome.architecture, config.network.bounds)
    layer = bool(rng.random() < config.mutation.new_layer_prob)
    wanted = [change for change in changes if change.is_layer == layer]
    if not wanted:
        return genome, NONE
    change = _draw_change(wanted, rng)
    mutation = Mutation(kind="architecture", what=change.what, before=change.before, after=change.after)
    return genome.model_copy(update={"architecture": change.result}), mutation


def mutate_parameters(genome: Genome, config: RunConfig, rng: np.random.Generator) -> Mutated:
    """Mark a genome's weights for noise, which is added when they are inherited."""
    return genome, Mutation(kind="parameters", what="weights", after=config.mutation.mutation_sd)


def mutate_activation(genome: Genome, config: RunConfig, rng: np.random.Generator) -> Mutated:
    """Replace the activation function by another one."""
    others = [name for name in ACTIVATION_NAMES if name != genome.activation]
    chosen = others[rng.integers(len(others))]
    mutation = Mutation(kind="activation", what="activation", before=genome.activation, after=chosen)
    return genome.model_copy(update={"activation": chosen}), mutation


def mutate_rl_hp(genome: Genome, config: RunConfig, rng: np.random.Generator) -> Mutated:
    """Move one gene on its own scale."""
    if not config.search:
        return genome, NONE
    name = sorted(config.search)[rng.integers(len(config.search))]
    before = genome.hyperparameters[name]
    integer = evolvable_hyperparameters()[name] is int
    after = config.search[name].mutate(before, rng, integer=integer)
    genes = {**genome.hyperparameters, name: after}
    return genome.model_copy(update={"hyperparameters": genes}), Mutation(
        kind="rl_hp", what=name, before=before, after=after
    )


Operator = Callable[[Genome, RunConfig, np.random.Generator], Mutated]

OPERATORS: dict[str, Operator] = {
    "no_mutation": no_mutation,
    "architecture": mutate_architecture,
    "parameters": mutate_parameters,
    "activation": mutate_activation,
    "rl_hp": mutate_rl_hp,
}


def architecture_changes(architecture: Architecture, bounds: BoundsConfig) -> list[Change[Architecture]]:
    """List every change that one mutation may make to an architecture."""
    parts: dict[str, list[Change]] = {  # type: ignore[type-arg]
        "encoder": list(architecture.encoder.changes("encoder", bounds)),
        "actor_head": layer_changes("actor_head", architecture.actor_head, bounds.layers, bounds.nodes),
        "critic_head": layer_changes("critic_head", architecture.critic_head, bounds.layers, bounds.nodes),
        "latent_dim": [
            Change("latent_dim", architecture.latent_dim, size, size)
            for size in sizes_within(architecture.latent_dim, bounds.latent_dim)
        ],
    }
    return [
        Change(c.what, c.before, c.after, architecture.model_copy(update={part: c.result}), c.is_layer)
        for part, changes in parts.items()
        for c in changes
    ]


def _draw_change(changes: list[Change[Architecture]], rng: np.random.Generator) -> Change[Architecture]:
    """Draw a part, then a direction, then a size, so that growing and shrinking are equally likely."""
    parts = sorted({change.what for change in changes})
    part = parts[rng.integers(len(parts))]
    here = [change for change in changes if change.what == part]
    directions = sorted({change.after > change.before for change in here})
    grow = directions[rng.integers(len(directions))]
    sizes = [change for change in here if (change.after > change.before) == grow]
    return sizes[rng.integers(len(sizes))]
