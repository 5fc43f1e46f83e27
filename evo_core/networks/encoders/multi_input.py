"""Encoder of dictionaries and tuples: one encoder per leaf, whose outputs are added."""

from typing import Annotated, Any, Literal

import torch
from pydantic import SerializeAsAny
from torch import Tensor, nn

from evo_core.config.network import Activation, BoundsConfig
from evo_core.genome.architecture import Change
from evo_core.networks.encoders.encoder import Encoder, EncoderArchitecture, Leaves
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import ACTIVATIONS, Axis
from evo_core.spaces.observations import Tensors

Part = Annotated[SerializeAsAny[EncoderArchitecture], "of one leaf"]


class MultiInputArchitecture(EncoderArchitecture):
    """An architecture for each leaf, by the leaf's name."""

    kind: Literal["multi_input"] = "multi_input"
    parts: dict[str, Part]

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["MultiInputArchitecture"]]:
        """List every change that one mutation may make: any change of any leaf's encoder."""
        return [
            c.of(MultiInputArchitecture(parts={**self.parts, leaf: c.result}))
            for leaf, inner in self.parts.items()
            for c in inner.changes(f"{part}.{leaf}", bounds)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Sum up the sizes that may mutate."""
        return {name: n for leaf, inner in self.parts.items() for name, n in inner.sizes(f"{part}.{leaf}").items()}

    def build(
        self, name: str, leaves: Leaves, outputs: Axis, activation: Activation, *, activate: bool = True
    ) -> Encoder:
        """Build the module: observations to [N, outputs]."""
        parts = [
            self.parts[leaf.name].build(f"{name}.{leaf.name}", (leaf,), outputs, activation, activate=False)
            for leaf in leaves
        ]
        return MultiInputEncoder(parts, activation, activate=activate)


class MultiInputEncoder(Encoder):
    """σ(Σ encoder(leaf) / √leaves): to [N, outputs].

    Every leaf's encoder ends in an affine map, so the sum is the same as one affine map of all of them side by side.
    """

    def __init__(self, parts: list[Encoder], activation: Activation, *, activate: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.activation = ACTIVATIONS[activation] if activate else None

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        encoded: list[Any] = [part(observations) for part in self.parts]
        h = torch.stack(encoded).sum(0) * len(encoded) ** -0.5
        return h if self.activation is None else self.activation(h)
