"""Activation functions, each with its derivative in closed form. Both may overwrite what they are given.

Nothing else uses that memory, and for images allocating costs more than the function, because the operating system
zeroes new pages.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "ReLU": torch.relu_,
    "Tanh": torch.tanh_,
    "ELU": nn.functional.elu_,
    "GELU": nn.functional.gelu,
    "SiLU": nn.functional.silu,
}
"""The gradient of the first three follows from y, so that y takes the place of z; the others need both."""

Backward = Callable[[Tensor], Tensor]
"""Computes the gradient by a part's inputs from that by its outputs, which it may overwrite, and writes those by its
parameters to `grad`."""

_aten = torch.ops.aten

GRADIENTS: dict[Activation, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ReLU": lambda grad, z, y: _aten.threshold_backward.grad_input(grad, y, 0, grad_input=grad),
    "Tanh": lambda grad, z, y: _aten.tanh_backward.grad_input(grad, y, grad_input=grad),
    "ELU": lambda grad, z, y: _aten.elu_backward.grad_input(grad, 1, 1, 1, True, y, grad_input=grad),
    "GELU": lambda grad, z, y: _aten.gelu_backward.grad_input(grad, z, grad_input=grad),
    "SiLU": lambda grad, z, y: _aten.silu_backward.grad_input(grad, z, grad_input=grad),
}
"""For y = σ(z), the gradient by z from the gradient by y, z and y: the operators that autograd calls too."""
