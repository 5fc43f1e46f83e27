"""Weight inheritance: one table of units moves weights and Adam moments from parent to child.

The table follows from the two networks alone. Where an axis of the child has the parent's label, its units are the
parent's. Where it grew, the further units are new: random weights into them and zero weights out of them, so the
function is preserved (Net2Net; Chen et al. 2016). Where it shrank, the least important units go.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from evo_core.agent.agent import AgentState, initial_state
from evo_core.agent.devices import torch_generator
from evo_core.genome.genome import Genome
from evo_core.networks.actor_critic import ActorCritic
from evo_core.networks.inputs import Tensors
from evo_core.networks.recurrence import sequences
from evo_core.networks.stack import Axis, AxisTable, axis_table, output_dimension
from evo_core.numerics.roots import sqrt
from evo_core.spaces.spaces import Spaces

NEW = -1
PIECE = 16
NOISY_FRACTION = 0.1
"""Fraction of a matrix's weights that a parameter mutation touches, as in AgileRL."""


def transfer(parent: AgentState, genome: Genome, spaces: Spaces, rng: np.random.Generator) -> AgentState:
    """Transfer a parent's weights and Adam moments to a child of any architecture and activation."""
    if genome.architecture == parent.genome.architecture:
        torch_generator(rng)  # as for new weights: what is drawn next does not depend on the architecture
        weights, exp_avg, exp_avg_sq = map(_copied, (parent.weights, parent.exp_avg, parent.exp_avg_sq))
        return replace(parent, genome=genome, weights=weights, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
    fresh = initial_state(genome, spaces, 1.0, rng)
    old_axes = axis_table(ActorCritic(parent.genome, spaces))
    new_axes = axis_table(ActorCritic(genome, spaces))
    kept = _kept_units(parent.weights, old_axes, new_axes)

    def carry(source: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: _carry(
                source[name],
                [_units(kept, old, new) for old, new in zip(old_axes[name], axes, strict=True)],
                output_dimension(axes),
                initial[name],
            )
            if name in source
            else initial[name]
            for name, axes in new_axes.items()
        }

    return AgentState(
        genome=genome,
        weights=carry(parent.weights, fresh.weights),
        exp_avg=carry(parent.exp_avg, fresh.exp_avg),
        exp_avg_sq=carry(parent.exp_avg_sq, fresh.exp_avg_sq),
        optimizer_steps=parent.optimizer_steps,
        statistics=parent.statistics,
        lr=parent.lr,
    )


def perturb(state: AgentState, mutation_sd: float, rng: np.random.Generator) -> AgentState:
    """Add Gaussian noise to a random tenth of every weight matrix on the way to the actions.

    The noise's standard deviation is `mutation_sd` times the matrix's root mean square, so that it means the same in
    every layer. Moments are kept.
    """
    weights = dict(state.weights)
    for name, weight in weights.items():
        if weight.ndim < 2 or name.startswith("critic") or "bias" in name.rsplit(".", 1)[-1]:
            continue
        touched = rng.random(weight.shape) < NOISY_FRACTION
        noise = torch.from_numpy(np.where(touched, rng.standard_normal(weight.shape), 0.0).astype(np.float32))
        weights[name] = weight + mutation_sd * sqrt(weight.square().mean()) * noise
    return replace(state, weights=weights)


def output_shift(parent: AgentState, child: AgentState, spaces: Spaces, observations: Tensors) -> float:
    """Measure the effect of a transfer on the outputs: the largest difference of a logit (or action mean) or value.

    A recurrent network sees the observations as sequences of PIECE steps.
    """
    if child.genome.activation == parent.genome.activation and _are_equal(child.weights, parent.weights):
        return 0.0
    with torch.inference_mode():
        old, new = (_outputs(state, spaces, observations) for state in (parent, child))
        return max(float((after - before).abs().max()) for before, after in zip(old, new, strict=True))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def _outputs(state: AgentState, spaces: Spaces, observations: Tensors) -> tuple[Tensor, Tensor]:
    network = ActorCritic(state.genome, spaces)
    network.load_state_dict(dict(state.weights))
    count = len(next(iter(observations.values())))
    lengths = np.diff([*range(0, count, PIECE), count])
    memory = torch.zeros((len(lengths), network.memory_size))
    outputs: tuple[Tensor, Tensor] = network(observations, sequences(lengths, memory) if network.memory_size else None)
    return outputs


def _kept_units(weights: Mapping[str, Tensor], old_axes: AxisTable, new_axes: AxisTable) -> dict[str, Tensor]:
    """For every axis that shrank, the parent's units that stay: the most important ones, in their old order."""
    new_sizes = {axis.label: axis.size for axes in new_axes.values() for axis in axes}
    old = {axis for axes in old_axes.values() for axis in axes}
    return {
        axis.label: _importance(axis, weights, old_axes)
        .argsort(descending=True, stable=True)[: new_sizes[axis.label]]
        .sort()
        .values
        for axis in old
        if axis.kind == "units" and new_sizes.get(axis.label, axis.size) < axis.size
    }


def _importance(axis: Axis, weights: Mapping[str, Tensor], axes: AxisTable) -> Tensor:
    """Score units by (norm of weights in) × (norm of weights out), [units]."""
    into, out = torch.zeros(axis.size), torch.zeros(axis.size)
    for name, dimensions in axes.items():
        for dimension, other in enumerate(dimensions):
            if other == axis:
                squares = weights[name].movedim(dimension, 0).reshape(axis.size, -1).square().sum(1)
                (into if dimension == output_dimension(dimensions) else out).add_(squares)
    return sqrt(into) * sqrt(out)


def _units(kept: Mapping[str, Tensor], old: Axis, new: Axis) -> Tensor:
    """Per unit of a child's axis, the parent's unit or NEW. Axes of other labels match by position."""
    if old.label == new.label and new.label in kept:
        return kept[new.label]
    units = torch.arange(new.size)
    if new.kind == "kernel":
        units -= (new.size - old.size) // 2
    units[(units < 0) | (units >= old.size)] = NEW
    return units


def _carry(source: Tensor, units: list[Tensor], rows: int, initial: Tensor) -> Tensor:
    """Copy the parent's entries; new units along dimension `rows` come from `initial`, other new entries are 0."""
    carried = source
    for dimension, index in enumerate(units):
        carried = carried.index_select(dimension, index.clamp(min=0))
        if dimension != rows and bool((index == NEW).any()):
            carried = carried.index_fill(dimension, torch.nonzero(index == NEW).squeeze(1), 0.0)
    new_rows = torch.nonzero(units[rows] == NEW).squeeze(1)
    return carried.index_copy(rows, new_rows, initial.index_select(rows, new_rows)) if len(new_rows) else carried
