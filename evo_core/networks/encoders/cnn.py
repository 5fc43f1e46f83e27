"""Encoder of images: convolutions, then a linear map from all channels and positions to the latent vector."""

from typing import Any

from torch import Tensor

from evo_core.config.network import Activation
from evo_core.genome.architecture import Convolution
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
from evo_core.networks.convolution import FromChannels, blocks, grid
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors, as_image
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import HIDDEN_GAIN, Axis, chain
from evo_core.spaces.observations import Leaf


class CnnEncoder(Encoder):
    """σ(W · convolutions(image)): to [N, outputs]."""

    def __init__(
        self,
        name: str,
        leaf: Leaf,
        convolutions: tuple[Convolution, ...],
        outputs: Axis,
        activation: Activation,
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        self.leaf = leaf
        channels, height, width = leaf.image_shape
        self.blocks, last = blocks(convolutions, Axis(leaf.label, channels), name, activation)
        self.output = FromChannels(last, grid(convolutions, height, width), outputs, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None
        self.gradient = GRADIENTS[activation]

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h = as_image(self.leaf, observations[self.leaf.name])
        for block in self.blocks:
            h = block(h)
        h = self.output(h)
        return h if self.activation is None else self.activation(h)

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode a batch of observations; return the backward function too."""
        h = as_image(self.leaf, observations[self.leaf.name])
        backwards: list[Backward] = []
        convolutions: list[Any] = list(self.blocks)
        for block in convolutions:
            h, backward = block.vjp(h, inputs=bool(backwards))
            backwards.append(backward)
        z, backward = self.output.vjp(h)
        return self._activate(z, chain([*backwards, backward]))
