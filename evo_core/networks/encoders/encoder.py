"""The interface of an encoder's module."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from evo_core.networks.inputs import Tensors
from evo_core.networks.recurrence import Sequences
from evo_core.spaces.observations import Leaf

Leaves = tuple[Leaf, ...]


class Encoder(nn.Module, ABC):
    """Encoder from observations to latent vectors. Encoders without a memory ignore the sequences."""

    memory_size: int = 0
    max_seq_len: int = 1

    @abstractmethod
    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode N steps of whole sequences, [N, latent]."""

    def step(self, observations: Tensors, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one step of N environments, memory [N, M]: latent vectors [N, latent], and the memory after it."""
        latent: Tensor = self(observations)
        return latent, memory
