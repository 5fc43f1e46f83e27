"""Convolutions with labeled axes, and the map from their channels to a vector."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.architecture import Convolution
from evo_core.networks.activations import ACTIVATIONS
from evo_core.networks.stack import HIDDEN_GAIN, Axis, AxisTable


class Conv(nn.Conv2d):
    """A convolution padded so that the size of its output does not depend on that of its kernel: ⌈side / stride⌉."""

    def __init__(self, inputs: Axis, outputs: Axis, kernel: int, stride: int, gain: float) -> None:
        super().__init__(inputs.size, outputs.size, kernel, stride, padding=kernel // 2, device="cpu")
        self.inputs, self.outputs, self.gain = inputs, outputs, gain

    def reset_parameters(self) -> None:
        """Do nothing, because torch's own initialization would draw from the global generator."""

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        side = Axis("kernel", self.kernel_size[0], "kernel")
        return {"weight": (self.outputs, self.inputs, side, side), "bias": (self.outputs,)}

    def initialize(self, generator: torch.Generator) -> None:
        """Draw orthogonal weights scaled by the gain (zeros for gain 0); biases are zero."""
        if self.gain:
            nn.init.orthogonal_(self.weight, self.gain, generator=generator)
        else:
            nn.init.zeros_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


class ConvBlock(nn.Module):
    """σ(W * h + b), or with `residual` h + W₂ * σ(W₁ * h + b₁) + b₂, the identity at birth because W₂ = b₂ = 0."""

    def __init__(self, layer: Convolution, inputs: Axis, label: str, activation: Activation) -> None:
        super().__init__()
        inner = Axis(label, layer.channels)
        self.inner = Conv(inputs, inner, layer.kernel, layer.stride, HIDDEN_GAIN)
        self.outer = Conv(inner, inputs, layer.kernel, 1, 0.0) if layer.kind == "residual" else None
        self.outputs = inner if self.outer is None else inputs
        self.activation = ACTIVATIONS[activation]

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, in, H, W] to [N, out, H', W']."""
        inner = self.activation(self.inner(h))
        return inner if self.outer is None else torch.add(h, self.outer(inner))


class FromChannels(nn.Module):
    """An affine map from channels at every place of a grid to units; each channel keeps its own axis."""

    def __init__(self, channels: Axis, places: tuple[int, int], outputs: Axis, gain: float) -> None:
        super().__init__()
        self.channels, self.outputs, self.gain = channels, outputs, gain
        self.places = Axis(f"grid {places[0]} by {places[1]}", math.prod(places))
        self.weight = nn.Parameter(torch.empty(outputs.size, channels.size, self.places.size))
        self.bias = nn.Parameter(torch.empty(outputs.size))

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        return {"weight": (self.outputs, self.channels, self.places), "bias": (self.outputs,)}

    def initialize(self, generator: torch.Generator) -> None:
        """Draw orthogonal weights scaled by the gain; biases are zero."""
        nn.init.orthogonal_(self.weight, self.gain, generator=generator)
        nn.init.zeros_(self.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, outputs]."""
        return nn.functional.linear(h.flatten(1), self.weight.flatten(1), self.bias)


def blocks(
    layers: tuple[Convolution, ...], inputs: Axis, label: str, activation: Activation
) -> tuple[nn.ModuleList, Axis]:
    """Stack convolutions; return them and the number of output channels."""
    stacked: list[Any] = []
    for i, layer in enumerate(layers):
        stacked.append(ConvBlock(layer, inputs, f"{label}.{i}", activation))
        inputs = stacked[-1].outputs
    return nn.ModuleList(stacked), inputs


def grid(layers: tuple[Convolution, ...], height: int, width: int) -> tuple[int, int]:
    """Return the output size of convolutions."""
    for layer in layers:
        height, width = math.ceil(height / layer.stride), math.ceil(width / layer.stride)
    return height, width
