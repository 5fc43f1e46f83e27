"""Encoder of images: convolutions, then a linear map from all channels and positions to the latent vector."""

from typing import Literal, Self

from torch import Tensor

from evo_core.config.network import Activation, BoundsConfig, NetworkConfig, require_within
from evo_core.genome.architecture import Change, Convolution, convolution_changes
from evo_core.networks.convolution import FromChannels, blocks, grid
from evo_core.networks.encoders.encoder import Encoder, EncoderArchitecture, Leaves
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import ACTIVATIONS, HIDDEN_GAIN, Axis
from evo_core.spaces.observations import Leaf, Tensors


class CnnArchitecture(EncoderArchitecture):
    """Convolutions before the latent vector."""

    kind: Literal["cnn"] = "cnn"
    convolutions: tuple[Convolution, ...]

    @classmethod
    def initial(cls, network: NetworkConfig, leaf: Leaf) -> Self:
        """Express the configured encoder as an architecture; ValueError when it lies outside its bounds."""
        encoder, bounds = network.encoder, network.bounds
        require_within("layers of network.encoder.channel_size", len(encoder.channel_size), bounds.layers)
        for channels, kernel in zip(encoder.channel_size, encoder.kernel_size, strict=True):
            require_within("network.encoder.channel_size", channels, bounds.channels)
            require_within("network.encoder.kernel_size", kernel, bounds.kernels)
        sizes = zip(encoder.channel_size, encoder.kernel_size, encoder.stride_size, strict=True)
        return cls(convolutions=tuple(Convolution(kind="plain", channels=c, kernel=k, stride=s) for c, k, s in sizes))

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["CnnArchitecture"]]:
        """List every change that one mutation may make."""
        return [
            c.of(CnnArchitecture(convolutions=c.result)) for c in convolution_changes(part, self.convolutions, bounds)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Sum up the sizes that may mutate."""
        layers = self.convolutions
        return {
            f"{part}.layers": len(layers),
            f"{part}.channels": sum(layer.channels for layer in layers),
            f"{part}.kernels": sum(layer.kernel for layer in layers),
        }

    def build(
        self, name: str, leaves: Leaves, outputs: Axis, activation: Activation, *, activate: bool = True
    ) -> Encoder:
        """Build the module: observations to [N, outputs]."""
        (leaf,) = leaves
        return CnnEncoder(name, leaf, self.convolutions, outputs, activation, activate=activate)


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

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h = self.leaf.as_image(observations[self.leaf.name])
        for block in self.blocks:
            h = block(h)
        h = self.output(h)
        return h if self.activation is None else self.activation(h)
