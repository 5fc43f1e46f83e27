"""Stacks of fully connected layers with labeled axes, so that evolution matches parent and child unit by unit."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.architecture import Layer, Layers
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward

HIDDEN_GAIN = 2**0.5
"""Gain of the orthogonal initialization of hidden layers (Saxe et al. 2014; Andrychowicz et al. 2021)."""


class Axis(NamedTuple):
    """A named row of units. Axes with the same label in parent and child hold the same units.

    `kernel` axes grow and shrink at both ends; the number of `gates` is fixed.
    """

    label: str
    size: int
    kind: Literal["units", "kernel", "gates"] = "units"


AxisTable = dict[str, tuple[Axis, ...]]
"""For each parameter's name, the axis along each of its dimensions."""


def output_dimension(axes: tuple[Axis, ...]) -> int:
    """Return the dimension of a parameter along which its output units lie: the first one that holds units."""
    return next(i for i, axis in enumerate(axes) if axis.kind == "units")


@runtime_checkable
class Labeled(Protocol):
    """A part of a network that can be initialized and whose parameters' axes have labels."""

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        ...

    def initialize(self, generator: torch.Generator) -> None:
        """Draw initial weights."""
        ...


class Linear(nn.Linear):
    """An affine map from one labeled axis to another, uninitialized until `initialize`."""

    def __init__(self, inputs: Axis, outputs: Axis, gain: float) -> None:
        super().__init__(inputs.size, outputs.size, device="cpu")
        self.inputs, self.outputs, self.gain = inputs, outputs, gain

    def reset_parameters(self) -> None:
        """Do nothing, because torch's own initialization would draw from the global generator."""

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        return {"weight": (self.outputs, self.inputs), "bias": (self.outputs,)}

    def vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Map [N, in] to [N, out]; return the backward function too, without the gradient by h unless `inputs`."""

        def backward(grad: Tensor) -> Tensor:
            return self._backward(h, grad, inputs)

        return nn.functional.linear(h, self.weight, self.bias), backward

    def _backward(self, h: Tensor, grad: Tensor, inputs: bool) -> Tensor:
        """Write gradᵀh and Σ grad, the gradients by weight and bias; return grad · W, that by h."""
        torch.mm(grad.t(), h, out=self.weight.grad)
        torch.sum(grad, 0, out=self.bias.grad)
        return grad.mm(self.weight) if inputs else grad

    def initialize(self, generator: torch.Generator) -> None:
        """Draw orthogonal weights scaled by the gain (zeros for gain 0); biases are zero."""
        if self.gain:
            nn.init.orthogonal_(self.weight, self.gain, generator=generator)
        else:
            nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class Dense(Linear):
    """σ(Wh + b)."""

    def __init__(self, inputs: Axis, outputs: Axis, activation: Activation) -> None:
        super().__init__(inputs, outputs, HIDDEN_GAIN)
        self.activation, self.gradient = ACTIVATIONS[activation], GRADIENTS[activation]

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, in] to [N, out]."""
        return self.activation(nn.functional.linear(h, self.weight, self.bias))

    def vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Map [N, in] to [N, out]; return the backward function too, without the gradient by h unless `inputs`."""
        z = nn.functional.linear(h, self.weight, self.bias)
        y = self.activation(z)
        return y, lambda grad: self._backward(h, self.gradient(grad, z, y), inputs)


class Residual(nn.Module):
    """h + W₂σ(W₁h + b₁) + b₂, the identity at birth because W₂ and b₂ start at zero."""

    def __init__(self, inputs: Axis, inner: Axis, activation: Activation) -> None:
        super().__init__()
        self.inner = Dense(inputs, inner, activation)
        self.outer = Linear(inner, inputs, 0.0)
        self.outputs = inputs

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, in] to [N, in]."""
        return torch.add(h, self.change(h))

    def change(self, h: Tensor) -> Tensor:
        """Compute the residual, [N, in]."""
        change: Tensor = self.outer(self.inner(h))
        return change

    def vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Map [N, in] to [N, in]; return the backward function too, without the gradient by h unless `inputs`."""
        change, backward = self.change_vjp(h, inputs=inputs)
        return torch.add(h, change), lambda grad: grad + backward(grad) if inputs else backward(grad)

    def change_vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Compute the residual, [N, in]; return its backward function too."""
        inner, inner_backward = self.inner.vjp(h, inputs=inputs)
        change, outer_backward = self.outer.vjp(inner)
        return change, lambda grad: inner_backward(outer_backward(grad))


class Stack(nn.Module):
    """Hidden layers and an affine output: [N, inputs] to [N, outputs]."""

    def __init__(
        self, name: str, inputs: Axis, layers: Layers, outputs: Axis, activation: Activation, output_gain: float
    ) -> None:
        super().__init__()
        self.hidden = nn.ModuleList()
        for i, layer in enumerate(layers):
            block = _block(layer, inputs, f"{name}.{i}", activation)
            self.hidden.append(block)
            inputs = block.outputs
        self.output = Linear(inputs, outputs, output_gain)

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, inputs] to [N, outputs]."""
        for block in self.hidden:
            h = block.forward(h)  # not through __call__: there are no hooks, and this is the hot path
        return nn.functional.linear(h, self.output.weight, self.output.bias)

    def vjp(self, h: Tensor, *, inputs: bool = True) -> tuple[Tensor, Backward]:
        """Map [N, inputs] to [N, outputs]; return the backward function too; see Linear's."""
        backwards: list[Backward] = []
        for part in (*self.hidden, self.output):
            h, backward = part.vjp(h, inputs=inputs or bool(backwards))
            backwards.append(backward)
        return h, chain(backwards)


def chain(backwards: Sequence[Backward]) -> Backward:
    """Return the backward function of parts that follow one another, given in the order of the forward pass."""

    def backward(grad: Tensor) -> Tensor:
        for each in reversed(backwards):
            grad = each(grad)
        return grad

    return backward


def axis_table(module: nn.Module) -> AxisTable:
    """Collect the axes of every parameter below a module, by the parameter's full name."""
    return {
        f"{prefix}.{name}" if prefix else name: axes
        for prefix, part in module.named_modules()
        if isinstance(part, Labeled)
        for name, axes in part.axes().items()
    }


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Draw initial weights of every labeled part below a module, in order."""
    for part in module.modules():
        if isinstance(part, Labeled):
            part.initialize(generator)


def _block(layer: Layer, inputs: Axis, label: str, activation: Activation) -> Dense | Residual:
    axis = Axis(label, layer.nodes)
    return Dense(inputs, axis, activation) if layer.kind == "dense" else Residual(inputs, axis, activation)
