"""SimBa, a residual encoder of vectors (Lee et al. 2024): normalized blocks around a stream of constant width."""

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.encoders import SimbaArchitecture
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors, as_vector
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import ACTIVATIONS, HIDDEN_GAIN, Axis, AxisTable, Linear, Residual
from evo_core.spaces.observations import Leaf


class Norm(nn.Module):
    """Layer normalization with scale and shift (Ba et al. 2016)."""

    def __init__(self, units: Axis) -> None:
        super().__init__()
        self.units = units
        self.weight, self.bias = (nn.Parameter(torch.empty(units.size)) for _ in range(2))

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        return {"weight": (self.units,), "bias": (self.units,)}

    def initialize(self, generator: torch.Generator) -> None:
        """Scale by one, shift by zero."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Normalize [N, units]."""
        return nn.functional.layer_norm(h, (self.units.size,), self.weight, self.bias)


class SimbaBlock(nn.Module):
    """h + W₂σ(W₁ norm(h) + b₁) + b₂, the identity at birth because W₂ and b₂ start at zero."""

    def __init__(self, stream: Axis, inner: Axis, activation: Activation) -> None:
        super().__init__()
        self.norm = Norm(stream)
        self.block = Residual(stream, inner, activation)

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, width] to [N, width]."""
        return h + self.block.change(self.norm(h))


class SimbaEncoder(Encoder):
    """Linear → blocks → norm → linear: to [N, outputs]."""

    def __init__(
        self,
        name: str,
        leaf: Leaf,
        architecture: SimbaArchitecture,
        outputs: Axis,
        activation: Activation,
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        self.leaf = leaf
        stream = Axis(f"{name}.stream", architecture.width)
        self.input = Linear(Axis(leaf.label, leaf.vector_size), stream, 1.0)
        self.blocks = nn.ModuleList(
            SimbaBlock(stream, Axis(f"{name}.{i}", layer.nodes), activation)
            for i, layer in enumerate(architecture.layers)
        )
        self.norm = Norm(stream)
        self.output = Linear(stream, outputs, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h: Tensor = self.input(as_vector(self.leaf, observations[self.leaf.name]))
        for block in self.blocks:
            h = block(h)
        h = self.output(self.norm(h))
        return h if self.activation is None else self.activation(h)
