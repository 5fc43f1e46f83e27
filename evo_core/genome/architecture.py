"""Sizes of network parts as plain data, and the changes that evolution can make to them."""

from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

PartT = TypeVar("PartT")
WholeT = TypeVar("WholeT")

AMOUNTS = (16, 32, 64)
"""Numbers of units added or removed at once, as in AgileRL; fewer at a bound."""

CHANNEL_AMOUNTS = (8, 16, 32)
"""The same for the channels of a convolution."""


class Record(BaseModel):
    """Base class of everything that crosses a process or is written to the store: frozen, unknown fields are
    rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Layer(Record):
    """One hidden layer.

    `dense` is σ(Wh + b) with `nodes` outputs. `residual` is h + W₂σ(W₁h + b₁) + b₂ with `nodes` inner units, which
    keeps the width of what it is put on: born with W₂ = 0, it changes nothing.
    """

    kind: Literal["dense", "residual"]
    nodes: int


RecordT = TypeVar("RecordT", bound=Record)

Layers = tuple[Layer, ...]


class Convolution(Record):
    """One convolution with an odd kernel, padded so that only the stride decides the size of what comes out.

    `plain` is σ(W * h + b) with `channels` outputs. `residual` is h + W₂ * σ(W₁ * h + b₁) + b₂ with `channels` inner
    ones, born with W₂ = 0.
    """

    kind: Literal["plain", "residual"]
    channels: int
    kernel: int
    stride: int


Convolutions = tuple[Convolution, ...]


class ConvolutionBounds(Protocol):
    """Bounds of convolution mutations, as [minimum, maximum]."""

    @property
    def layers(self) -> tuple[int, int]:
        """Convolutions."""
        ...

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of each."""
        ...

    @property
    def kernels(self) -> tuple[int, int]:
        """Side of each kernel."""
        ...


@dataclass(frozen=True, slots=True)
class Change(Generic[PartT]):
    """One possible architecture mutation of a part: what it touches, sizes before and after, and the part after it."""

    what: str
    before: int
    after: int
    result: PartT
    is_layer: bool = False

    def of(self, whole: WholeT) -> "Change[WholeT]":
        """Return the same change as seen from a larger architecture that contains this part."""
        return Change(self.what, self.before, self.after, whole, self.is_layer)


def dense_layers(sizes: tuple[int, ...]) -> Layers:
    """Stack dense layers of the given sizes."""
    return tuple(Layer(kind="dense", nodes=size) for size in sizes)


def sizes_within(size: int, bounds: tuple[int, int], amounts: tuple[int, ...] = AMOUNTS) -> list[int]:
    """List the sizes that one mutation can reach from a size: up or down by an amount, stopping at the bounds."""
    low, high = bounds
    grown = {min(size + amount, high) for amount in amounts}
    shrunk = {max(size - amount, low) for amount in amounts}
    return sorted((grown | shrunk) - {size})


def layer_changes(
    part: str, layers: Layers, count: tuple[int, int], nodes: tuple[int, int], noun: str = "nodes"
) -> list[Change[Layers]]:
    """List every change of a stack: nodes of any layer, one more layer on top, or the top layer removed."""
    changes = [
        Change(
            f"{part}.{i}.{noun}",
            layer.nodes,
            size,
            _replaced(layers, i, nodes=size),
        )
        for i, layer in enumerate(layers)
        for size in sizes_within(layer.nodes, nodes)
    ]
    return changes + _depth_changes(part, layers, count, Layer(kind="residual", nodes=layers[-1].nodes))


def layer_sizes(part: str, layers: Layers, noun: str = "nodes") -> dict[str, int]:
    """Return the number of layers of a stack and their total number of nodes."""
    return {f"{part}.layers": len(layers), f"{part}.{noun}": sum(layer.nodes for layer in layers)}


def convolution_changes(part: str, layers: Convolutions, bounds: ConvolutionBounds) -> list[Change[Convolutions]]:
    """List every change of convolutions: channels or kernel of any, one more on top, or the top one removed."""
    low, high = bounds.kernels
    last = layers[-1]
    return [
        *(
            Change(f"{part}.{i}.channels", layer.channels, size, _replaced(layers, i, channels=size))
            for i, layer in enumerate(layers)
            for size in sizes_within(layer.channels, bounds.channels, CHANNEL_AMOUNTS)
        ),
        *(
            Change(f"{part}.{i}.kernel", layer.kernel, side, _replaced(layers, i, kernel=side))
            for i, layer in enumerate(layers)
            for side in (layer.kernel - 2, layer.kernel + 2)
            if low <= side <= high
        ),
        *_depth_changes(
            part,
            layers,
            bounds.layers,
            Convolution(kind="residual", channels=last.channels, kernel=min(max(3, low), high), stride=1),
        ),
    ]


def _replaced(layers: tuple[RecordT, ...], index: int, **update: int) -> tuple[RecordT, ...]:
    return (*layers[:index], layers[index].model_copy(update=update), *layers[index + 1 :])


def _depth_changes(
    part: str, layers: tuple[RecordT, ...], count: tuple[int, int], added: RecordT
) -> list[Change[tuple[RecordT, ...]]]:
    depth, what = len(layers), f"{part}.layers"
    changes = []
    if depth < count[1]:
        changes.append(Change(what, depth, depth + 1, (*layers, added), is_layer=True))
    if depth > count[0]:
        changes.append(Change(what, depth, depth - 1, layers[:-1], is_layer=True))
    return changes
