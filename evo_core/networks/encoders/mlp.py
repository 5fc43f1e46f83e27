"""Encoder of vectors and indices: fully connected layers."""

from typing import Literal, Self

from torch import Tensor

from evo_core.config.network import Activation, BoundsConfig, NetworkConfig
from evo_core.genome.architecture import Change, Layers, dense_layers, layer_changes, layer_sizes
from evo_core.networks.encoders.encoder import Encoder, EncoderArchitecture, Leaves
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import ACTIVATIONS, HIDDEN_GAIN, Axis, Stack
from evo_core.spaces.observations import Leaf, Tensors


class MlpArchitecture(EncoderArchitecture):
    """Hidden layers before the latent vector."""

    kind: Literal["mlp"] = "mlp"
    layers: Layers

    @classmethod
    def initial(cls, network: NetworkConfig, leaf: Leaf) -> Self:
        """Express the configured encoder as an architecture."""
        return cls(layers=dense_layers(network.encoder.hidden_size))

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["MlpArchitecture"]]:
        """List every change that one mutation may make."""
        return [
            c.of(MlpArchitecture(layers=c.result))
            for c in layer_changes(part, self.layers, bounds.layers, bounds.nodes)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Sum up the sizes that may mutate."""
        return layer_sizes(part, self.layers)

    def build(
        self, name: str, leaves: Leaves, outputs: Axis, activation: Activation, *, activate: bool = True
    ) -> Encoder:
        """Build the module: observations to [N, outputs]."""
        (leaf,) = leaves
        return MlpEncoder(name, leaf, self.layers, outputs, activation, activate=activate)


class MlpEncoder(Encoder):
    """σ(Stack(observation)), indices as one-hot vectors: to [N, outputs]."""

    def __init__(
        self, name: str, leaf: Leaf, layers: Layers, outputs: Axis, activation: Activation, *, activate: bool
    ) -> None:
        super().__init__()
        self.leaf = leaf
        self.stack = Stack(name, Axis(leaf.label, leaf.vector_size), layers, outputs, activation, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h: Tensor = self.stack(self.leaf.as_vector(observations[self.leaf.name]))
        return h if self.activation is None else self.activation(h)
