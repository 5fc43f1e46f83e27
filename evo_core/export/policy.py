"""The deterministic policy of an agent as one module of plain tensors, for export.

Inputs are observations as the environment returns them, and outputs are arguments of its `step`: casts,
normalization, one-hot indices, the order of an image's axes, masks, clipping and squashing are all inside.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Discrete
from pydantic import JsonValue
from torch import Tensor, nn

from evo_core.agent.agent import Agent
from evo_core.agent.normalization import LIMIT, Moments, Normalizer
from evo_core.config.objectives import Direction
from evo_core.genome.architecture import Record
from evo_core.networks.actor_critic import ActorCritic
from evo_core.networks.distributions.distribution import masked
from evo_core.networks.inputs import Tensors
from evo_core.records.chain import ObjectiveValue
from evo_core.spaces.observations import Leaf

FORMAT = 1
"""Version of the inputs, outputs and description of exported files."""

Role = Literal["observation", "action_mask", "memory", "action", "logits"]


class Port(Record):
    """One input or output: a tensor [batch, *shape] with NumPy's name of its type.

    `path`: the keys under which a leaf is found in an observation; empty for all else.
    """

    name: str
    path: tuple[str | int, ...] = ()
    role: Role
    shape: tuple[int, ...]
    dtype: str


class Card(Record):
    """The description in an exported file.

    `fitness` is that of its member's evaluation, whose episodes ended after `max_steps` at the latest: what
    `fitness_name` says, better in the `direction`. `mean_return` and further `objectives` stand beside it.
    """

    format: int = FORMAT
    run_id: str
    member: str
    env: Mapping[str, JsonValue]
    max_steps: int | None
    fitness: float | None
    fitness_sem: float | None
    fitness_name: str = "mean return"
    direction: Direction = "maximize"
    mean_return: float | None = None
    objectives: tuple[ObjectiveValue, ...] = ()
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Policy(nn.Module):
    """Module that maps observations, action masks and memory (if any) to actions, logits and memory.

    `inputs` and `outputs` name the tensors in order. Inputs: every leaf of the observation; with `masks` `action_mask`
    [batch, options], true where an option is allowed, those of several choices one after the other (a switch of
    MultiBinary has two, off and on); `memory` of a recurrent policy, zeros where an episode begins. Outputs:
    `action`; `logits` [batch, options] of the discrete kinds, by which an action may be drawn instead; `next_memory`.
    A name that a leaf has already gets an underscore.
    """

    def __init__(self, agent: Agent, *, masks: bool = False) -> None:
        super().__init__()
        state = agent.state()
        network = ActorCritic(state.genome, agent.spaces)
        network.load_state_dict(dict(state.weights))
        self.encoder, self.actor, self.distribution = network.encoder, network.actor, network.distribution
        normal = Normalizer(state.statistics).leaves
        self.layout = network.layout
        self.leaves = nn.ModuleList(_Input(leaf, normal.get(f"leaf {leaf.name}")) for leaf in self.layout.leaves)
        self.memory_size, self.masks = network.encoder.memory_size, masks and network.distribution.masks
        self.inputs, self.outputs = self._ports(self.layout.leaves, agent.spaces.action)
        self.requires_grad_(False)
        self.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Choose the most likely actions of a batch; takes `inputs`, returns `outputs`."""
        count, distribution = len(self.leaves), self.distribution
        known = zip(self.layout.leaves, self.leaves, tensors, strict=False)  # mask and memory follow the leaves
        observations: Tensors = {leaf.name: read(values) for leaf, read, values in known}
        memory = tensors[-1] if self.memory_size else tensors[0].new_zeros(0)
        latent, memory = self.encoder.step(observations, memory)
        logits = masked(self.actor(latent), tensors[count] if self.masks else None)
        action = distribution.to_space(distribution.mode(logits))
        return action, *([logits] if distribution.masks else []), *([memory] if self.memory_size else [])

    def example(self) -> tuple[Tensor, ...]:
        """Return example inputs, a batch of two, for tracing exporters."""
        drawn = self.layout.draw(2, np.random.default_rng(0))
        filled = {"action_mask": 1, "memory": 0}
        arrays = [
            drawn[port.name].astype(port.dtype)
            if port.role == "observation"
            else np.full((2, *port.shape), filled[port.role], port.dtype)
            for port in self.inputs
        ]
        return tuple(map(torch.from_numpy, arrays))

    def _ports(self, leaves: tuple[Leaf, ...], action: Space[Any]) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        names = {leaf.name for leaf in leaves}

        def port(name: str, role: Role, shape: tuple[int, ...], dtype: str) -> Port:
            while name in names:
                name += "_"
            return Port(name=name, role=role, shape=shape, dtype=dtype)

        distribution, size = self.distribution, self.memory_size
        inputs = [
            Port(name=leaf.name, path=leaf.path, role="observation", shape=leaf.shape, dtype=str(leaf.space.dtype))
            for leaf in leaves
        ]
        if self.masks:
            inputs.append(port("action_mask", "action_mask", (distribution.outputs,), "bool"))
        dtype = "int64" if isinstance(action, Discrete) else str(action.dtype)
        outputs = [port("action", "action", tuple(action.shape or ()), dtype)]
        if distribution.masks:
            outputs.append(port("logits", "logits", (distribution.outputs,), "float32"))
        if size:
            inputs.append(port("memory", "memory", (size,), "float32"))
            outputs.append(port("next_memory", "memory", (size,), "float32"))
        return tuple(inputs), tuple(outputs)


class _Input(nn.Module):
    """Module that casts and normalizes one leaf of raw observations."""

    def __init__(self, leaf: Leaf, moments: Moments | None) -> None:
        super().__init__()
        self.dtype = torch.from_numpy(np.empty(0, leaf.dtype)).dtype
        self.normalized = moments is not None and bool(moments.count)
        if moments is not None and self.normalized:
            self.register_buffer("mean", torch.as_tensor(moments.mean))
            self.register_buffer("deviation", torch.as_tensor(moments.deviation))

    def forward(self, values: Tensor) -> Tensor:
        """Cast and normalize a batch."""
        stored = values.to(self.dtype)
        if not self.normalized:
            return stored
        scaled = (stored.to(torch.float64) - self.get_buffer("mean")) / self.get_buffer("deviation")
        return scaled.clamp(-LIMIT, LIMIT).to(self.dtype)
