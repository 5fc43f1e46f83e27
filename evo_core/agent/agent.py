"""An agent: a network, and an Adam optimizer over one flat vector that all parameters are views of.

The flat vector makes gradient clipping and the optimizer step one operation each instead of one per tensor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evo_core.agent.devices import draws_on_device, to_device, torch_generator
from evo_core.agent.normalization import Normalizer
from evo_core.genome.genome import Genome
from evo_core.networks.actor_critic import ActorCritic
from evo_core.networks.distributions.distribution import masked
from evo_core.networks.inputs import Tensors
from evo_core.networks.stack import initialize
from evo_core.spaces.actions import read_mask
from evo_core.spaces.observations import Arrays
from evo_core.spaces.spaces import Spaces

ADAM_EPSILON = 1e-5
"""As in Huang et al. 2022, "The 37 implementation details of PPO", detail 3."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """The complete state of an agent, as named tensors on the CPU: weights, Adam's moments and its step count.

    `statistics` are those of its normalization, if it has any; `lr` its learning rate, where that follows the KL
    divergence.
    """

    genome: Genome
    weights: Mapping[str, Tensor]
    exp_avg: Mapping[str, Tensor]
    exp_avg_sq: Mapping[str, Tensor]
    optimizer_steps: int
    statistics: Mapping[str, Tensor] = field(default_factory=dict)
    lr: float | None = None


class Agent:
    """A network that acts and learns on one device. Learning changes it in place; `state` takes a copy."""

    def __init__(self, state: AgentState, spaces: Spaces, device: torch.device | str = "cpu") -> None:
        self.genome, self.spaces = state.genome, spaces
        self.device = torch.device(device)
        self.network = ActorCritic(state.genome, spaces)
        self.network.load_state_dict(dict(state.weights))
        self.network.to(self.device)
        self.parameters, self.gradients = _flatten(self.network)
        self.exp_avg, self.exp_avg_sq = self._gather(state.exp_avg), self._gather(state.exp_avg_sq)
        self.optimizer_steps = torch.tensor(float(state.optimizer_steps), device=self.device)
        self.normalizer = Normalizer(state.statistics)
        self.lr = state.lr
        self.draws_on_device = draws_on_device(self.device)

    def descend(self, lr: float, max_grad_norm: float) -> Tensor:
        """Clip the gradients to a norm and take one step of Adam; return the norm before clipping, a scalar."""
        norm: Tensor = torch.linalg.vector_norm(self.gradients)
        self.gradients.mul_((norm + 1e-6).reciprocal_().mul_(max_grad_norm).clamp_(max=1.0))
        self.optimizer_steps.add_(1)
        # what torch.optim.Adam(fused=True) calls, after six times as long
        torch._fused_adam_(
            [self.parameters],
            [self.gradients],
            [self.exp_avg],
            [self.exp_avg_sq],
            [],
            [self.optimizer_steps],
            lr=lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=ADAM_EPSILON,
            amsgrad=False,
            maximize=False,
        )
        return norm

    def act(
        self, observations: Sequence[Any], memory: Tensor | None = None, masks: Sequence[Any] | None = None
    ) -> tuple[Iterable[Any], Tensor]:
        """Choose the most likely actions for a sequence of observations, one of each environment.

        Returns the actions as the environments take them, and the memory to give with the next observations (None
        at the beginning of episodes; empty unless the policy is recurrent). `masks` are the environments' action masks.
        """
        distribution, rows = self.network.distribution, self.network.layout.stack(observations)
        allowed = None
        if masks is not None:
            options = np.stack([read_mask(self.spaces.action, mask) for mask in masks])
            allowed = torch.from_numpy(options).to(self.device)
        with torch.inference_mode():
            before = self.no_memory(len(observations)) if memory is None else memory
            outputs, after = self.network.policy(self.observe(rows), before)
            return distribution.to_env(distribution.mode(masked(outputs, allowed)).cpu().numpy()), after

    def no_memory(self, count: int) -> Tensor:
        """Return the initial memory of environments, [count, memory_size]."""
        return torch.zeros((count, self.network.memory_size), device=self.device)

    def state(self) -> AgentState:
        """Copy weights and optimizer to the CPU."""
        return AgentState(
            genome=self.genome,
            weights=self._scatter(self.parameters),
            exp_avg=self._scatter(self.exp_avg),
            exp_avg_sq=self._scatter(self.exp_avg_sq),
            optimizer_steps=int(self.optimizer_steps),
            statistics=self.normalizer.statistics(),
            lr=self.lr,
        )

    def observe(self, observations: Arrays) -> Tensors:
        """Normalize rows of observations, if the agent does, and move them to the device."""
        return {name: self.move(rows) for name, rows in self.normalizer.observe(observations).items()}

    def move(self, rows: np.ndarray) -> Tensor:
        """Move rows to the device."""
        return to_device(rows, self.device)

    def noise(self, rng: np.random.Generator, length: int, envs: int) -> Tensor:
        """Draw the noise of a rollout's actions, [length, envs, outputs], on the device if that draws itself."""
        distribution = self.network.distribution
        if self.draws_on_device:
            return distribution.noise_from(torch_generator(rng, self.device), length, envs)
        return self.move(distribution.noise(rng, length, envs))

    def shuffler(self, rng: np.random.Generator) -> np.random.Generator | torch.Generator:
        """Return the generator that shuffles the minibatches of one update: this one, or one on the device."""
        return torch_generator(rng, self.device) if self.draws_on_device else rng

    def _gather(self, named: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([named[name].reshape(-1) for name, _ in self.network.named_parameters()]).to(self.device)

    def _scatter(self, flat: Tensor) -> dict[str, Tensor]:
        named = list(self.network.named_parameters())
        pieces = torch.split(flat.detach().cpu(), [parameter.numel() for _, parameter in named])
        return {name: piece.clone().view(p.shape) for (name, p), piece in zip(named, pieces, strict=True)}


def initial_state(
    genome: Genome,
    spaces: Spaces,
    action_std_init: float,
    rng: np.random.Generator,
    statistics: Mapping[str, Tensor] | None = None,
) -> AgentState:
    """Draw the weights of a founder; its optimizer starts from zero, its normalization (if any) from `statistics`."""
    network = ActorCritic(genome, spaces, action_std_init)
    with torch.no_grad():
        initialize(network, torch_generator(rng))
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    first, second = ({name: torch.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    return AgentState(genome, weights, first, second, optimizer_steps=0, statistics=statistics or {})


def _flatten(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Make all parameters views of one vector, and all gradients views of another, both [P]."""
    parameters = list(network.parameters())
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradients = torch.zeros_like(flat)
    flat.grad = gradients
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = flat[start:stop].view(parameter.shape)
        parameter.grad = gradients[start:stop].view(parameter.shape)
        start = stop
    for module in network.modules():
        # From here on none is replaced. As plain attributes they are found at once: nn.Module's own search takes as
        # long as adding two tensors.
        vars(module).update(module._parameters | module._modules | module._buffers)
    return flat, gradients
