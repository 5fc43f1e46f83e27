"""Base of the action distributions: terms of the loss, and action masks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Space
from torch import Tensor, nn

Array = np.ndarray

Backward = Callable[[Tensor, float], Tensor]
"""Maps gradients by log-probabilities [N] and by each entropy (one number) to gradients by the outputs [N, A]."""

FORBIDDEN = -1e8
"""Logit of a masked choice: its probability is exactly zero, and no infinity enters a sum."""


class ActionTerms(NamedTuple):
    """Terms of a loss for actions under a policy: log π(a|s) [N], entropies [N], and the way back to the outputs.

    The gradients are closed forms: for networks this small, recording them in autograd costs more than the network.
    """

    log_probs: Tensor
    entropy: Tensor
    backward: Backward


class Distribution(nn.Module, ABC):
    """A policy's distribution over the actions of one space, from `outputs` numbers that a head computes.

    Randomness comes in as noise, drawn by NumPy (`noise`) or on a device (`noise_from`), so that acting is a
    deterministic function of its arguments on every device.
    """

    outputs: int
    action_shape: tuple[int, ...] = ()
    action_dtype: type = np.int64
    masks: bool = False

    @abstractmethod
    def noise(self, rng: np.random.Generator, count: int, envs: int) -> Array:
        """Draw what `sample` needs, [count, envs, outputs]."""

    @abstractmethod
    def noise_from(self, generator: torch.Generator, count: int, envs: int) -> Tensor:
        """Draw the same on the device of a generator of torch's."""

    @abstractmethod
    def sample(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Draw actions, [N, *action_shape]."""

    @abstractmethod
    def mode(self, outputs: Tensor) -> Tensor:
        """Return the most likely actions, [N, *action_shape]."""

    @abstractmethod
    def evaluate(self, outputs: Tensor, actions: Tensor, *, entropy: bool = True) -> ActionTerms:
        """Compute log-probabilities and entropies of actions; without `entropy`, expensive entropies are zeros."""

    @abstractmethod
    def to_env(self, actions: Array) -> Iterable[Any]:
        """Convert actions to the arguments of each environment's step."""

    @abstractmethod
    def to_space(self, actions: Tensor) -> Tensor:
        """Like `to_env`, on tensors, for exported policies: [N, *space.shape], of the space's type."""


def torch_dtype(space: Space[Any]) -> torch.dtype:
    """Return the torch dtype of a space's elements."""
    return torch.from_numpy(np.empty(0, space.dtype)).dtype


def masked(outputs: Tensor, masks: Tensor | None) -> Tensor:
    """Forbid choices: outputs [N, A] where `masks` [N, A] is false become impossible; None forbids nothing."""
    return outputs if masks is None else outputs.masked_fill(~masks, FORBIDDEN)
