"""Encoder with memory: recurrent layers over the observation or over the output of another encoder."""

from typing import Any

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.encoders import RecurrentArchitecture
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors, as_vector
from evo_core.networks.recurrence import RecurrentBlock, Sequences
from evo_core.networks.stack import HIDDEN_GAIN, Axis, Linear, chain
from evo_core.spaces.observations import Leaf


class RecurrentEncoder(Encoder):
    """σ(W · layers(features)): to [N, outputs]. The memory is that of all layers, side by side.

    `inputs` is the axis of the features, or of the leaf if there is no encoder of features.
    """

    def __init__(
        self,
        name: str,
        leaf: Leaf,
        features: Encoder | None,
        inputs: Axis,
        architecture: RecurrentArchitecture,
        outputs: Axis,
        activation: Activation,
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        self.features, self.leaf = features, leaf
        self.blocks = nn.ModuleList()
        for i, layer in enumerate(architecture.layers):
            units = Axis(f"{name}.{architecture.cell}.{i}", layer.nodes)
            block = RecurrentBlock(architecture.cell, inputs, units, residual=layer.kind == "residual")
            self.blocks.append(block)
            inputs = block.outputs
        self.output = Linear(inputs, outputs, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None
        self.gradient = GRADIENTS[activation]
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

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode N steps of whole sequences; return the backward function too."""
        assert sequences is not None
        features, places = self.features, sequences.places
        backwards: list[Backward] = []
        if features is None:
            h = as_vector(self.leaf, observations[self.leaf.name])
        else:
            h, backward = features.vjp(observations)
            # padding repeats steps, but nothing comes back from it
            backwards += [backward, lambda grad: grad.flatten(0, 1).index_select(0, places)]
        h = h.index_select(0, sequences.padded).view(sequences.length, -1, h.shape[-1])
        for block, memory in zip(self._layers(), torch.split(sequences.memory, self.sizes, 1), strict=True):
            h, backward = block.vjp(h, memory)
            backwards.append(backward)
        shape = h.shape
        z, backward = self.output.vjp(h.flatten(0, 1).index_select(0, places))

        def unpacked(grad: Tensor) -> Tensor:
            return grad.new_zeros((shape[0] * shape[1], shape[2])).index_copy_(0, places, grad).view(shape)

        return self._activate(z, chain([*backwards, unpacked, backward]))

    def step(self, observations: Tensors, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one step of N environments."""
        h, after = self._observe(observations), []
        for block, before in zip(self._layers(), torch.split(memory, self.sizes, 1), strict=True):
            h, remembered = block.step(h, before)
            after.append(remembered)
        return self._out(h), torch.cat(after, 1)

    def _observe(self, observations: Tensors) -> Tensor:
        if self.features is None:
            return as_vector(self.leaf, observations[self.leaf.name])
        features: Tensor = self.features(observations)
        return features

    def _out(self, h: Tensor) -> Tensor:
        latent: Tensor = self.output(h)
        return latent if self.activation is None else self.activation(latent)

    def _layers(self) -> list[Any]:
        return list(self.blocks)
