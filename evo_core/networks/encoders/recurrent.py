"""Encoder with memory: recurrent layers over the observation or over the output of another encoder."""

from typing import Annotated, Any, Literal

import torch
from pydantic import SerializeAsAny
from torch import Tensor, nn

from evo_core.config.network import Activation, BoundsConfig
from evo_core.genome.architecture import Change, Layers, layer_changes, layer_sizes, sizes_within
from evo_core.networks.encoders.encoder import Encoder, EncoderArchitecture, Leaves
from evo_core.networks.recurrence import CellKind, RecurrentBlock, Sequences
from evo_core.networks.stack import ACTIVATIONS, HIDDEN_GAIN, Axis, Linear
from evo_core.spaces.observations import Tensors

Features = Annotated[SerializeAsAny[EncoderArchitecture], "of one step"]


class RecurrentArchitecture(EncoderArchitecture):
    """Recurrent layers before the latent vector. A vector goes straight into them; `features` encodes all else first.

    `max_seq_len` is the length at which backpropagation through time is cut.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: CellKind
    layers: Layers
    max_seq_len: int
    features: Features | None
    feature_dim: int

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["RecurrentArchitecture"]]:
        """List every change that one mutation may make: of units, layers, and of what comes before them."""
        found: list[Change[RecurrentArchitecture]] = [
            c.of(self.model_copy(update={"layers": c.result}))
            for c in layer_changes(f"{part}.{self.cell}", self.layers, bounds.layers, bounds.units, noun="units")
        ]
        if self.features is not None:
            found += [
                c.of(self.model_copy(update={"features": c.result}))
                for c in self.features.changes(f"{part}.features", bounds)
            ]
            found += [
                Change(f"{part}.feature_dim", self.feature_dim, size, self.model_copy(update={"feature_dim": size}))
                for size in sizes_within(self.feature_dim, bounds.latent_dim)
            ]
        return found

    def sizes(self, part: str) -> dict[str, int]:
        """Sum up the sizes that may mutate."""
        own = layer_sizes(f"{part}.{self.cell}", self.layers, noun="units")
        if self.features is None:
            return own
        return {**own, **self.features.sizes(f"{part}.features"), f"{part}.feature_dim": self.feature_dim}

    def build(
        self, name: str, leaves: Leaves, outputs: Axis, activation: Activation, *, activate: bool = True
    ) -> Encoder:
        """Build the module: observations to [N, outputs]."""
        return RecurrentEncoder(name, leaves, self, outputs, activation, activate=activate)


class RecurrentEncoder(Encoder):
    """σ(W · layers(features)): to [N, outputs]. The memory is that of all layers, side by side."""

    def __init__(
        self,
        name: str,
        leaves: Leaves,
        architecture: RecurrentArchitecture,
        outputs: Axis,
        activation: Activation,
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        self.features, self.leaf = None, leaves[0]
        inputs = Axis(self.leaf.label, self.leaf.vector_size)
        if architecture.features is not None:
            inputs = Axis(f"{name}.features", architecture.feature_dim)
            self.features = architecture.features.build(f"{name}.features", leaves, inputs, activation)
        self.blocks = nn.ModuleList()
        for i, layer in enumerate(architecture.layers):
            units = Axis(f"{name}.{architecture.cell}.{i}", layer.nodes)
            block = RecurrentBlock(architecture.cell, inputs, units, residual=layer.kind == "residual")
            self.blocks.append(block)
            inputs = block.outputs
        self.output = Linear(inputs, outputs, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None
        self.sizes = [block.cell.memory_size for block in self._layers()]
        self.memory_size = sum(self.sizes)
        self.max_seq_len = architecture.max_seq_len

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode N steps of whole sequences."""
        assert sequences is not None
        h = self._observe(observations).index_select(0, sequences.padded)
        h = h.view(sequences.length, -1, h.shape[-1])
        for block, memory in zip(self._layers(), torch.split(sequences.memory, self.sizes, 1), strict=True):
            h = block(h, memory)
        return self._out(h.flatten(0, 1).index_select(0, sequences.places))

    def step(self, observations: Tensors, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one step of N environments."""
        h, after = self._observe(observations), []
        for block, before in zip(self._layers(), torch.split(memory, self.sizes, 1), strict=True):
            h, remembered = block.step(h, before)
            after.append(remembered)
        return self._out(h), torch.cat(after, 1)

    def _observe(self, observations: Tensors) -> Tensor:
        if self.features is None:
            return self.leaf.as_vector(observations[self.leaf.name])
        features: Tensor = self.features(observations)
        return features

    def _out(self, h: Tensor) -> Tensor:
        latent: Tensor = self.output(h)
        return latent if self.activation is None else self.activation(latent)

    def _layers(self) -> list[Any]:
        return list(self.blocks)
