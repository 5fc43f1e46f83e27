"""The encoder of vectors and of discrete observations: a stack of fully connected layers."""

from typing import Literal

import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from evo_core.architecture import Change, Layers, Record, dense_layers, layer_changes
from evo_core.networks.stack import ACTIVATIONS, HIDDEN_GAIN, Axis, Stack
from evo_core.sections import Activation, BoundsConfig, NetworkConfig


class MlpArchitecture(Record):
    """Hidden layers before the latent vector."""

    kind: Literal["mlp"] = "mlp"
    layers: Layers


class MlpEncoder(nn.Module):
    """σ(Stack(observation)): [N, D] vectors, or [N] discrete observations as one-hot, to [N, latent]."""

    Architecture = MlpArchitecture
    SUPPORTED = "Box vectors (one dimension), Discrete"

    def __init__(
        self, name: str, space: Space, architecture: MlpArchitecture, latent: Axis, activation: Activation
    ) -> None:
        super().__init__()
        self.one_hot = isinstance(space, spaces.Discrete)
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else 0
        self.inputs = int(space.n) if isinstance(space, spaces.Discrete) else spaces.flatdim(space)
        inputs = Axis("observation", self.inputs)
        self.stack = Stack(name, inputs, architecture.layers, latent, activation, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation]

    def forward(self, observations: Tensor) -> Tensor:
        """Encode a batch of observations."""
        if self.one_hot:
            observations = nn.functional.one_hot(observations - self.start, self.inputs).to(torch.float32)
        return self.activation(self.stack(observations))

    @staticmethod
    def supports(space: Space) -> bool:
        """Tell whether this encoder reads observations of a space."""
        return isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and len(space.shape) == 1)

    @staticmethod
    def initial(network: NetworkConfig) -> MlpArchitecture:
        """Express the configured encoder as an architecture."""
        return MlpArchitecture(layers=dense_layers(network.encoder.hidden_size))

    @staticmethod
    def changes(architecture: MlpArchitecture, bounds: BoundsConfig) -> list[Change[MlpArchitecture]]:
        """List every change that a mutation may make to an architecture."""
        return [
            Change(c.what, c.before, c.after, MlpArchitecture(layers=c.result), c.is_layer)
            for c in layer_changes("encoder", architecture.layers, bounds.layers, bounds.nodes)
        ]
