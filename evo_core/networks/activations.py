"""Activation functions, each with its derivative in closed form."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "ReLU": torch.relu,
    "Tanh": torch.tanh,
    "ELU": nn.functional.elu,
    "GELU": nn.functional.gelu,
    "SiLU": nn.functional.silu,
}

Backward = Callable[[Tensor], Tensor]
"""Computes the gradient by a part's inputs from that by its outputs, and writes those by its parameters to `grad`."""

_aten = torch.ops.aten

GRADIENTS: dict[Activation, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ReLU": lambda grad, z, y: _aten.threshold_backward.default(grad, y, 0),
    "Tanh": lambda grad, z, y: _aten.tanh_backward.default(grad, y),
    "ELU": lambda grad, z, y: _aten.elu_backward.default(grad, 1, 1, 1, True, y),
    "GELU": lambda grad, z, y: _aten.gelu_backward.default(grad, z),
    "SiLU": lambda grad, z, y: _aten.silu_backward.default(grad, z),
}
"""For y = σ(z), the gradient by z from the gradient by y, z and y: the operators that autograd calls too."""
