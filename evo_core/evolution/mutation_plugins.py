"""Mutations of plugins: a new genome, checked against what a genome of its run may be, and a record of what changed."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from pydantic import JsonValue, ValidationError

from evo_core.config.network import BoundsConfig
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.genome.genome import Genome, sizes
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import MUTATION
from evo_core.plugins.loading import PluginError, load
from evo_core.records.chain import Mutation

Stated = dict[str, JsonValue]


class MutationPlugin(Protocol):
    """A mutation of a plugin. Its constructor takes its entry of `mutation.options` as keyword arguments."""

    def mutate(self, genome: Genome, config: RunConfig, rng: np.random.Generator) -> Genome:
        """Return a genome that differs from this one, drawn from `rng` alone; the same one where it cannot apply.

        Genes stay within `config.search`, sizes within `config.network.bounds`.
        """
        ...


def mutate_by_plugin(name: str, genome: Genome, config: RunConfig, rng: np.random.Generator) -> tuple[Genome, Mutation]:
    """Apply a plugin's mutation; PluginError if it raises, or returns what is no genome of this run."""
    plugin: MutationPlugin = load(MUTATION, name, config.mutation.options.get(name))
    shown = f"mutation {name} ({package_of(MUTATION, name) or 'of no installed package'})"
    try:
        made: Any = plugin.mutate(genome.model_copy(deep=True), config, rng)
    except Exception as error:  # plugins raise any exception
        raise PluginError(f"{shown}: {type(error).__name__}: {error}") from error
    if not isinstance(made, Genome):
        raise PluginError(f"{shown}: expected a Genome from mutate, got {made!r:.200}")
    try:
        child = Genome.model_validate_json(made.model_dump_json(warnings=False))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PluginError(f"{shown}: its genome has {place} {first['input']!r:.100}: {first['msg']}") from error
    if problem := next(_problems(genome, child, config), None):
        raise PluginError(f"{shown}: {problem}")
    return child, _record(name, genome, child)


def _record(name: str, parent: Genome, child: Genome) -> Mutation:
    """Describe what differs: one value, or several by name."""
    if child == parent:
        return Mutation(kind="none")
    before, after = _stated(parent), _stated(child)
    changed = [part for part in after if before.get(part) != after[part]]
    if len(changed) == 1:
        return Mutation(kind=name, what=changed[0], before=before.get(changed[0]), after=after[changed[0]])
    was, now = ({part: values.get(part) for part in changed} for values in (before, after))
    return Mutation(kind=name, what=", ".join(changed) or "architecture", before=was or None, after=now or None)


def _stated(genome: Genome) -> Stated:
    return {**genome.hyperparameters, "activation": genome.activation, **sizes(genome)}


def _problems(parent: Genome, child: Genome, config: RunConfig) -> Iterator[str]:
    """Find what a genome of this run may not be."""
    if child.hyperparameters.keys() != parent.hyperparameters.keys():
        yield f"expected the genes {sorted(parent.hyperparameters)}, got {sorted(child.hyperparameters)}"
        return
    kinds = evolvable_hyperparameters()
    for name, value in child.hyperparameters.items():
        gene = config.search[name]
        if not gene.min <= value <= gene.max or (kinds[name] is int and type(value) is not int):
            noun = "a whole number from " if kinds[name] is int else ""
            yield f"{name}: expected {noun}{gene.min:g} to {gene.max:g} (search.{name}), got {value!r}"
    before, after = (genome.architecture.model_dump(mode="json") for genome in (parent, child))
    if _fixed(before) != _fixed(after):
        yield f"expected an architecture of the same kinds, got {_fixed(after)} from {_fixed(before)}"
    yield from _out_of_bounds(after, config.network.bounds)


def _fixed(part: Any) -> Any:
    """Return what no mutation changes of an architecture: everything but sizes and layers."""
    if isinstance(part, Mapping):
        mutable = {"layers", "convolutions", "actor_head", "critic_head", "latent_dim", "feature_dim"}
        return {name: _fixed(inner) for name, inner in part.items() if name not in mutable}
    return part


def _out_of_bounds(part: Mapping[str, Any], bounds: BoundsConfig) -> Iterator[str]:
    """Find sizes of an architecture outside the bounds of mutations."""
    nodes = bounds.units if part.get("kind") == "recurrent" else bounds.nodes
    limits = {
        **{"nodes": nodes, "channels": bounds.channels, "kernel": bounds.kernels},
        **{"latent_dim": bounds.latent_dim, "feature_dim": bounds.latent_dim},
    }
    for name, value in part.items():
        if name == "options":
            continue
        if isinstance(value, list):
            low, high = bounds.layers
            if not low <= len(value) <= high:
                yield f"{name}: expected {low} to {high} layers (network.bounds), got {len(value)}"
            for layer in value:
                yield from _out_of_sizes(layer, limits)
        elif isinstance(value, Mapping):
            yield from _out_of_bounds(value, bounds)
    yield from _out_of_sizes(part, limits)


def _out_of_sizes(part: Mapping[str, Any], limits: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for name, (low, high) in limits.items():
        if name in part and not low <= part[name] <= high:
            yield f"{name}: expected {low} to {high} (network.bounds), got {part[name]}"
        elif name == "kernel" and name in part and part[name] % 2 == 0:
            yield f"kernel: expected an odd number, got {part[name]}"
