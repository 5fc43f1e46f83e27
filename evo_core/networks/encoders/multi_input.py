"""Encoder of dictionaries and tuples: one encoder per leaf, whose outputs are added."""

from typing import Any

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors
from evo_core.networks.recurrence import Sequences


class MultiInputEncoder(Encoder):
    """σ(Σ encoder(leaf) / √leaves): to [N, outputs].

    Every leaf's encoder ends in an affine map, so the sum is the same as one affine map of all of them side by side.
    """

    def __init__(self, parts: list[Encoder], activation: Activation, *, activate: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.activation = ACTIVATIONS[activation] if activate else None
        self.gradient = GRADIENTS[activation]

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        encoded: list[Any] = [part(observations) for part in self.parts]
        h = torch.stack(encoded).sum(0) * len(encoded) ** -0.5
        return h if self.activation is None else self.activation(h)

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode a batch of observations; return the backward function too."""
        parts: list[Any] = list(self.parts)
        encoded, backwards = zip(*(part.vjp(observations) for part in parts), strict=True)
        scale = len(encoded) ** -0.5

        def backward(grad: Tensor) -> Tensor:
            scaled = grad * scale
            for each in backwards:
                each(scaled)
            return grad

        return self._activate(torch.stack(encoded).sum(0) * scale, backward)
