"""The interface of an encoder's module."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from evo_core.networks.activations import Backward
from evo_core.networks.inputs import Tensors
from evo_core.networks.recurrence import Sequences
from evo_core.spaces.observations import Leaf

Leaves = tuple[Leaf, ...]


class Encoder(nn.Module, ABC):
    """Encoder from observations to latent vectors. Encoders without a memory ignore the sequences."""

    memory_size: int = 0
    max_seq_len: int = 1
    activation: Callable[[Tensor], Tensor] | None
    """That of the latent vectors; None where another part of the network applies it."""
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]

    @abstractmethod
    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode N steps of whole sequences, [N, latent]."""

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode N steps; return the backward function too, without a gradient by the observations.

        This one uses autograd; encoders whose backward pass is simple override it.
        """
        with torch.enable_grad():
            latent: Tensor = self(observations, sequences)

        def backward(grad: Tensor) -> Tensor:
            torch.autograd.backward(latent, grad)
            return grad

        return latent.detach(), backward

    def step(self, observations: Tensors, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one step of N environments, memory [N, M]: latent vectors [N, latent], and the memory after it."""
        latent: Tensor = self(observations)
        return latent, memory

    def _activate(self, z: Tensor, backward: Backward) -> tuple[Tensor, Backward]:
        """Apply the activation to the last layer's outputs, and put its gradient before their backward function."""
        if self.activation is None:
            return z, backward
        y = self.activation(z)
        return y, lambda grad: backward(self.gradient(grad, z, y))
