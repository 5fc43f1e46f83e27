"""What a kind of encoder brings: an architecture, plain data that knows its spaces, its changes and its module."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from gymnasium import Space
from torch import nn

from evo_core.architecture import Change, Layers, Record
from evo_core.networks.stack import Axis
from evo_core.sections import Activation, BoundsConfig, NetworkConfig


class EncoderArchitecture(Record, ABC):
    """Sizes of an encoder. `kind` names the class in the registry; `layers` are its fully connected layers."""

    SUPPORTED: ClassVar[str]
    kind: str
    layers: Layers

    @classmethod
    @abstractmethod
    def supports(cls, space: Space[Any]) -> bool:
        """Tell whether this kind reads observations of a space."""

    @classmethod
    @abstractmethod
    def initial(cls, network: NetworkConfig) -> Self:
        """Express the configured encoder as an architecture."""

    @abstractmethod
    def changes(self, bounds: BoundsConfig) -> Sequence[Change["EncoderArchitecture"]]:
        """List every change that one mutation may make."""

    @abstractmethod
    def build(self, name: str, space: Space[Any], latent: Axis, activation: Activation) -> nn.Module:
        """Make the module: a batch of observations to [N, latent]. `name` begins the labels of its axes."""
