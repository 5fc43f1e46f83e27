"""Encoder of vectors and indices: fully connected layers."""

from torch import Tensor

from evo_core.config.network import Activation
from evo_core.genome.architecture import Layers
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors, as_vector
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import HIDDEN_GAIN, Axis, Stack
from evo_core.spaces.observations import Leaf


class MlpEncoder(Encoder):
    """σ(Stack(observation)), indices as one-hot vectors: to [N, outputs]."""

    def __init__(
        self, name: str, leaf: Leaf, layers: Layers, outputs: Axis, activation: Activation, *, activate: bool
    ) -> None:
        super().__init__()
        self.leaf = leaf
        self.stack = Stack(name, Axis(leaf.label, leaf.vector_size), layers, outputs, activation, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None
        self.gradient = GRADIENTS[activation]

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h = self.stack.forward(as_vector(self.leaf, observations[self.leaf.name]))
        return h if self.activation is None else self.activation(h)

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode a batch of observations; return the backward function too."""
        z, backward = self.stack.vjp(as_vector(self.leaf, observations[self.leaf.name]), inputs=False)
        return self._activate(z, backward)
