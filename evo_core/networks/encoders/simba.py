"""SimBa, a residual encoder of vectors (Lee et al. 2024): normalized blocks around a stream of constant width."""

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.encoders import SimbaArchitecture
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors, as_vector
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import HIDDEN_GAIN, Axis, AxisTable, Linear, Residual, chain
from evo_core.spaces.observations import Leaf

EPSILON = 1e-5
"""Added to the variance in layer normalization, as in torch."""


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

    def vjp(self, h: Tensor) -> tuple[Tensor, Backward]:
        """Normalize [N, units]; return the backward function too (Ba et al. 2016, section 3)."""
        shape = [self.units.size]
        normalized, mean, rstd = torch.native_layer_norm(h, shape, self.weight, self.bias, EPSILON)

        def backward(grad: Tensor) -> Tensor:
            by_h, by_weight, by_bias = torch.ops.aten.native_layer_norm_backward.default(
                grad, h, shape, mean, rstd, self.weight, self.bias, [True, True, True]
            )
            assert self.weight.grad is not None and self.bias.grad is not None
            self.weight.grad.copy_(by_weight)
            self.bias.grad.copy_(by_bias)
            return by_h  # type: ignore[no-any-return]

        return normalized, backward


class SimbaBlock(nn.Module):
    """h + W₂σ(W₁ norm(h) + b₁) + b₂, the identity at birth because W₂ and b₂ start at zero."""

    def __init__(self, stream: Axis, inner: Axis, activation: Activation) -> None:
        super().__init__()
        self.norm = Norm(stream)
        self.block = Residual(stream, inner, activation)

    def forward(self, h: Tensor) -> Tensor:
        """Map [N, width] to [N, width]."""
        return h + self.block.change(self.norm(h))

    def vjp(self, h: Tensor) -> tuple[Tensor, Backward]:
        """Map [N, width] to [N, width]; return the backward function too."""
        normalized, norm_backward = self.norm.vjp(h)
        change, change_backward = self.block.change_vjp(normalized)
        return h + change, lambda grad: grad + norm_backward(change_backward(grad))


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
        self.gradient = GRADIENTS[activation]

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h: Tensor = self.input(as_vector(self.leaf, observations[self.leaf.name]))
        for block in self.blocks:
            h = block(h)
        h = self.output(self.norm(h))
        return h if self.activation is None else self.activation(h)

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode a batch of observations; return the backward function too."""
        h, backward = self.input.vjp(as_vector(self.leaf, observations[self.leaf.name]), inputs=False)
        backwards = [backward]
        for part in (*self.blocks, self.norm, self.output):
            h, backward = part.vjp(h)
            backwards.append(backward)
        return self._activate(h, chain(backwards))
