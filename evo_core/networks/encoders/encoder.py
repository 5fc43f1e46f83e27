"""The interface of an encoder kind: architecture, spaces, mutations and module."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from evo_core.config.network import Activation, BoundsConfig
from evo_core.genome.architecture import Change, Record
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import Axis
from evo_core.spaces.observations import Leaf, Tensors

Leaves = tuple[Leaf, ...]


class Encoder(nn.Module, ABC):
    """From observations to latent vectors. Those without a memory ignore how steps hang together."""

    memory_size: int = 0
    max_seq_len: int = 1

    @abstractmethod
    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode N steps of whole sequences, [N, latent]."""

    def step(self, observations: Tensors, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one step of N environments, memory [N, M]: latent vectors [N, latent], and the memory after it."""
        latent: Tensor = self(observations)
        return latent, memory


class EncoderArchitecture(Record, ABC):
    """Sizes of an encoder. `kind` names the class in the registry."""

    kind: str

    @abstractmethod
    def changes(self, part: str, bounds: BoundsConfig) -> Sequence[Change[Any]]:
        """List every change that one mutation may make; `part` begins their names."""

    @abstractmethod
    def sizes(self, part: str) -> dict[str, int]:
        """Sum up the sizes that may mutate, by names that never do: layers, and their nodes, channels or units."""

    @abstractmethod
    def build(
        self, name: str, leaves: Leaves, outputs: Axis, activation: Activation, *, activate: bool = True
    ) -> Encoder:
        """Build the module: observations to [N, outputs], with an activation at the end unless disabled.

        `name` begins the labels of its axes.
        """
