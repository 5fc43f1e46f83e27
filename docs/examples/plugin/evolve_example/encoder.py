"""Learned Fourier features of vectors."""

import math

import torch
from torch import Tensor, nn


class Fourier:
    """Encode a vector by sines and cosines of learned projections (Tancik et al. 2020, "Fourier Features Let Networks
    Learn High Frequency Functions in Low Dimensional Domains").

    `size` is the number of projections; a larger `scale` lets the policy change faster between nearby states.
    """

    def __init__(self, size: int = 32, scale: float = 1.0) -> None:
        self.size, self.scale = size, scale

    def features(self, shape: tuple[int, ...]) -> nn.Module:
        """Make the module from [N, D] to [N, 2 · size]."""
        if len(shape) != 1:
            raise ValueError(f"expected vectors, got images of shape {shape}; name others by network.encoder.leaves")
        return FourierFeatures(shape[0], self.size, self.scale)


class FourierFeatures(nn.Module):
    """[sin(Wx), cos(Wx)] / √size."""

    def __init__(self, inputs: int, size: int, scale: float) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, size, bias=False)
        nn.init.normal_(self.projection.weight, std=scale)
        self.normalization = math.sqrt(1 / size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, D] to [N, 2 · size]."""
        angles = self.projection(x)
        return torch.cat([angles.sin(), angles.cos()], 1) * self.normalization
