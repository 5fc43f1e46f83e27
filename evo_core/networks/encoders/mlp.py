"""The encoder of vectors and of discrete observations: a stack of fully connected layers."""

from typing import Any, ClassVar, Literal, Self

import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from evo_core.architecture import Change, Layers, dense_layers, layer_changes
from evo_core.networks.encoders.base import EncoderArchitecture
from evo_core.networks.stack import ACTIVATIONS, HIDDEN_GAIN, Axis, Stack
from evo_core.sections import Activation, BoundsConfig, NetworkConfig


class MlpArchitecture(EncoderArchitecture):
    """Hidden layers before the latent vector."""

    SUPPORTED: ClassVar[str] = "Box vectors (one dimension), Discrete"
    kind: Literal["mlp"] = "mlp"

    @classmethod
    def supports(cls, space: Space[Any]) -> bool:
        """Tell whether this kind reads observations of a space."""
        return isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and len(space.shape) == 1)

    @classmethod
    def initial(cls, network: NetworkConfig) -> Self:
        """Express the configured encoder as an architecture."""
        return cls(layers=dense_layers(network.encoder.hidden_size))

    def changes(self, bounds: BoundsConfig) -> list[Change[EncoderArchitecture]]:
        """List every change that one mutation may make."""
        return [
            Change(c.what, c.before, c.after, MlpArchitecture(layers=c.result), c.is_layer)
            for c in layer_changes("encoder", self.layers, bounds.layers, bounds.nodes)
        ]

    def build(self, name: str, space: Space[Any], latent: Axis, activation: Activation) -> nn.Module:
        """Make the module: a batch of observations to [N, latent]."""
        return MlpEncoder(name, space, self.layers, latent, activation)


class MlpEncoder(nn.Module):
    """σ(Stack(observation)): [N, D] vectors, or [N] discrete observations as one-hot, to [N, latent]."""

    def __init__(self, name: str, space: Space[Any], layers: Layers, latent: Axis, activation: Activation) -> None:
        super().__init__()
        self.discrete = isinstance(space, spaces.Discrete)
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else 0
        self.inputs = spaces.flatdim(space)
        self.stack = Stack(name, Axis("observation", self.inputs), layers, latent, activation, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation]

    def forward(self, observations: Tensor) -> Tensor:
        """Encode a batch of observations."""
        if self.discrete:
            observations = nn.functional.one_hot(observations - self.start, self.inputs).to(torch.float32)
        return self.activation(self.stack(observations))
