"""Recurrent layers over sequences of unequal length, with labeled axes gate by gate."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from evo_core.genome.encoders import CellKind
from evo_core.networks.activations import Backward
from evo_core.networks.stack import Axis, AxisTable, Linear

GATES: dict[CellKind, int] = {"lstm": 4, "gru": 3}
FORGET_GATE = 1
"""Index of the forget gate of an LSTM; its bias starts at one (Jozefowicz et al. 2015)."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Layout of the N steps of a batch: consecutive pieces of episodes.

    Recurrent layers see them side by side, [length, pieces], shorter ones padded by repeating their last step.
    `padded` [length · pieces]: the step at each place; `places` [N]: the place of each step; `memory` [pieces, M]:
    what is remembered before each piece begins.
    """

    length: int
    padded: Tensor
    places: Tensor
    memory: Tensor

    def split(self, size: int) -> "tuple[Sequences, Sequences]":
        """Split the memory of two encoders, of which the first has `size` numbers."""
        first, second = torch.split(self.memory, [size, self.memory.shape[1] - size], 1)
        return replace(self, memory=first), replace(self, memory=second)


def sequences(lengths: np.ndarray, memory: Tensor) -> Sequences:
    """Lay out pieces of the given lengths [pieces]; memory [pieces, M]."""
    longest, count = int(lengths.max()), len(lengths)
    starts = np.cumsum(lengths) - lengths
    padded = starts + np.minimum(np.arange(longest)[:, None], lengths - 1)
    step = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    places = step * count + np.repeat(np.arange(count), lengths)
    device = memory.device
    return Sequences(
        longest, torch.from_numpy(padded.reshape(-1)).to(device), torch.from_numpy(places).to(device), memory
    )


class Cell(nn.Module):
    """An LSTM or GRU layer: inputs to units. Parameters are [gates, units, …], so that units mutate gate by gate."""

    def __init__(self, kind: CellKind, inputs: Axis, units: Axis) -> None:
        super().__init__()
        self.kind: CellKind = kind
        self.inputs, self.units = inputs, units
        gates = GATES[kind]
        self.weight_ih = nn.Parameter(torch.empty(gates, units.size, inputs.size))
        self.weight_hh = nn.Parameter(torch.empty(gates, units.size, units.size))
        self.bias_ih = nn.Parameter(torch.empty(gates, units.size))
        self.bias_hh = nn.Parameter(torch.empty(gates, units.size))
        self._views: tuple[list[Tensor], list[Tensor]] | None = None

    @property
    def memory_size(self) -> int:
        """Numbers remembered per sequence: the output and, of an LSTM, the cell."""
        return self.units.size * (2 if self.kind == "lstm" else 1)

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        gates = Axis(self.kind, GATES[self.kind], "gates")
        return {
            "weight_ih": (gates, self.units, self.inputs),
            "weight_hh": (gates, self.units, self.units),
            "bias_ih": (gates, self.units),
            "bias_hh": (gates, self.units),
        }

    def initialize(self, generator: torch.Generator) -> None:
        """Draw orthogonal weights per gate; biases are zero, but for an LSTM's forget gate."""
        for weight in (self.weight_ih, self.weight_hh):
            for gate in weight:
                nn.init.orthogonal_(gate, 1.0, generator=generator)
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)
        if self.kind == "lstm":
            nn.init.ones_(self.bias_ih[FORGET_GATE])

    def forward(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """Run over whole sequences: inputs [length, pieces, I], memory [pieces, M], to [length, pieces, units]."""
        first = [part.unsqueeze(0).contiguous() for part in self._parts(memory)]
        if self.kind == "lstm":
            outputs: Tensor = torch.lstm(inputs, first, self._weights(), True, 1, 0.0, True, False, False)[0]
        else:
            outputs = torch.gru(inputs, first[0], self._weights(), True, 1, 0.0, True, False, False)[0]
        return outputs

    def vjp(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Backward]:
        """Run over whole sequences; return the backward function too."""
        fused = self.kind == "lstm" and inputs.device.type == "cpu" and torch.backends.mkldnn.is_available()
        return self._fused_vjp(inputs, memory) if fused else self._autograd_vjp(inputs, memory)

    def _autograd_vjp(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Backward]:
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            outputs = self(leaf, memory)

        def backward(grad: Tensor) -> Tensor:
            torch.autograd.backward(outputs, grad)
            assert leaf.grad is not None
            return leaf.grad

        return outputs.detach(), backward

    def _fused_vjp(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Backward]:
        """Call the kernels, forward and backward, that `torch.lstm` and autograd choose on the CPU."""
        h, c = (part.contiguous() for part in self._parts(memory))
        mode, size, (weights, gradients) = 2, self.units.size, self._flat()  # 2 is the LSTM
        with torch.enable_grad():  # without it, the kernel would not keep what its backward needs
            outputs, last_h, last_c, workspace = torch.ops.aten.mkldnn_rnn_layer.default(
                inputs, *weights, h, c, False, [], mode, size, 1, True, False, False, True
            )

        def backward(grad: Tensor) -> Tensor:
            by_inputs, *by_weights = torch.ops.aten.mkldnn_rnn_layer_backward.default(
                inputs, *weights, h, c, outputs, last_h, last_c, grad, None, None, False, mode, size, 1, True,
                True, False, [], False, workspace,
            )  # fmt: skip
            torch._foreach_copy_(gradients, by_weights[: len(gradients)])  # those by h and c follow
            return by_inputs  # type: ignore[no-any-return]

        return outputs, backward

    def step(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step: inputs [N, I], memory [N, M], to outputs [N, units] and memory [N, M]."""
        if self.kind == "lstm":
            h, c = torch.lstm_cell(inputs, self._parts(memory), *self._weights())
            return h, torch.cat([h, c], 1)
        h = torch.gru_cell(inputs, memory, *self._weights())
        return h, h

    def _weights(self) -> list[Tensor]:
        return [
            self.weight_ih.flatten(0, 1),
            self.weight_hh.flatten(0, 1),
            self.bias_ih.flatten(),
            self.bias_hh.flatten(),
        ]

    def _flat(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights and their gradients with all gates in one dimension, made once."""
        if self._views is None or self._views[0][0].data_ptr() != self.weight_ih.data_ptr():
            weights = [weight.detach() for weight in self._weights()]
            gradients = [
                p.grad.view_as(w) for p, w in zip(self.parameters(), weights, strict=True) if p.grad is not None
            ]
            self._views = weights, gradients
        return self._views

    def _parts(self, memory: Tensor) -> list[Tensor]:
        return list(torch.split(memory, self.units.size, 1))


class RecurrentBlock(nn.Module):
    """A cell or, with `residual`, h + W · cell(h), the identity at birth because W = 0."""

    def __init__(self, kind: CellKind, inputs: Axis, units: Axis, *, residual: bool) -> None:
        super().__init__()
        self.cell = Cell(kind, inputs, units)
        self.outer = Linear(units, inputs, 0.0) if residual else None
        self.outputs = inputs if residual else units

    def forward(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """Run over whole sequences: [length, pieces, in] to [length, pieces, out]."""
        return self._out(inputs, self.cell(inputs, memory))

    def vjp(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Backward]:
        """Run over whole sequences; return the backward function too."""
        h, backward = self.cell.vjp(inputs, memory)
        if self.outer is None:
            return h, backward
        change, outer_backward = self.outer.vjp(h.flatten(0, 1))

        def residual_backward(grad: Tensor) -> Tensor:
            return grad + backward(outer_backward(grad.flatten(0, 1)).view_as(h))

        return inputs + change.view_as(inputs), residual_backward

    def step(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step: [N, in] to [N, out], with what is remembered after it."""
        outputs, memory = self.cell.step(inputs, memory)
        return self._out(inputs, outputs), memory

    def _out(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        return outputs if self.outer is None else torch.add(inputs, self.outer(outputs))
