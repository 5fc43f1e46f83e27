"""Convolutions with labeled axes, and the map from their channels to a vector."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.architecture import Convolution
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
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

    def vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Map [N, in, H, W] to [N, out, H', W']; return the backward function too, without the gradient by h unless
        `inputs`."""

        def backward(grad: Tensor) -> Tensor:
            by_h, by_weight, by_bias = torch.ops.aten.convolution_backward.default(
                grad, h, self.weight, [self.out_channels], self.stride, self.padding, self.dilation, False, [0, 0], 1,
                [inputs, True, True],
            )  # fmt: skip
            assert self.weight.grad is not None and self.bias is not None and self.bias.grad is not None
            self.weight.grad.copy_(by_weight)
            self.bias.grad.copy_(by_bias)
            return by_h if inputs else grad

        return self.forward(h), backward


class ConvBlock(nn.Module):
    """σ(W * h + b), or with `residual` h + W₂ * σ(W₁ * h + b₁) + b₂, the identity at birth because W₂ = b₂ = 0."""

    def __init__(self, layer: Convolution, inputs: Axis, label: str, activation: Activation) -> None:
        super().__init__()
        inner = Axis(label, layer.channels)
        self.inner = Conv(inputs, inner, layer.kernel, layer.stride, HIDDEN_GAIN)
        self.outer = Conv(inner, inputs, layer.kernel, 1, 0.0) if layer.kind == "residual" else None
        self.outputs = inner if self.outer is None else inputs
        self.activation, self.gradient = ACTIVATIONS[activation], GRADIENTS[activation]

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, in, H, W] to [N, out, H', W']."""
        inner = self.activation(self.inner(h))
        return inner if self.outer is None else torch.add(h, self.outer(inner))

    def vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Map [N, in, H, W] to [N, out, H', W']; return the backward function too; see Conv's."""
        z, inner_backward = self.inner.vjp(h, inputs=inputs)
        y = self.activation(z)

        def backward(grad: Tensor) -> Tensor:
            return inner_backward(self.gradient(grad, z, y))

        if self.outer is None:
            return y, backward
        change, outer_backward = self.outer.vjp(y)

        def residual_backward(grad: Tensor) -> Tensor:
            by_h = backward(outer_backward(grad))
            return by_h.add_(grad) if inputs else grad

        return torch.add(h, change), residual_backward


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

    def vjp(self, h: Tensor) -> tuple[Tensor, Backward]:
        """Map [N, C, H, W] to [N, outputs]; return the backward function too.

        Convolutions keep the channels last in memory. The weights are reordered to match, because they are fewer.
        """
        last = h.permute(0, 2, 3, 1)
        rows, weight = last.flatten(1), self.weight.transpose(1, 2).flatten(1)

        def backward(grad: Tensor) -> Tensor:
            assert self.weight.grad is not None
            by_weight = grad.t().mm(rows).view(-1, self.places.size, self.channels.size)
            self.weight.grad.copy_(by_weight.transpose(1, 2))
            torch.sum(grad, 0, out=self.bias.grad)
            return grad.mm(weight).view_as(last).permute(0, 3, 1, 2)

        return nn.functional.linear(rows, weight, self.bias), backward


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
