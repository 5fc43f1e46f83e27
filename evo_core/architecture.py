"""Sizes of network parts as plain data, and the changes that evolution may make to them."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

PartT = TypeVar("PartT")

AMOUNTS = (16, 32, 64)
"""Units added or removed at once, as in AgileRL; less where a bound is nearer."""


class Record(BaseModel):
    """Base of everything that crosses a process or is written to the store: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Layer(Record):
    """One hidden layer.

    `dense` is σ(Wh + b) with `nodes` outputs. `residual` is h + W₂σ(W₁h + b₁) + b₂ with `nodes` inner units, which
    keeps the width of what it is put on: born with W₂ = 0, it changes nothing.
    """

    kind: Literal["dense", "residual"]
    nodes: int


Layers = tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Change(Generic[PartT]):
    """One possible architecture mutation of a part: what it touches, sizes before and after, and the part after it."""

    what: str
    before: int
    after: int
    result: PartT
    is_layer: bool = False


def dense_layers(sizes: tuple[int, ...]) -> Layers:
    """Stack dense layers of the given sizes."""
    return tuple(Layer(kind="dense", nodes=size) for size in sizes)


def sizes_within(size: int, bounds: tuple[int, int]) -> list[int]:
    """List the sizes that one mutation can reach from a size: up or down by an amount, stopping at the bounds."""
    low, high = bounds
    grown = {min(size + amount, high) for amount in AMOUNTS}
    shrunk = {max(size - amount, low) for amount in AMOUNTS}
    return sorted((grown | shrunk) - {size})


def layer_changes(part: str, layers: Layers, count: tuple[int, int], nodes: tuple[int, int]) -> list[Change[Layers]]:
    """List every change of a stack: nodes of any layer, one more layer on top, or the top layer removed."""
    changes = [
        Change(
            f"{part}.{i}.nodes",
            layer.nodes,
            size,
            (*layers[:i], layer.model_copy(update={"nodes": size}), *layers[i + 1 :]),
        )
        for i, layer in enumerate(layers)
        for size in sizes_within(layer.nodes, nodes)
    ]
    depth = len(layers)
    if depth < count[1]:
        added = Layer(kind="residual", nodes=layers[-1].nodes)
        changes.append(Change(f"{part}.layers", depth, depth + 1, (*layers, added), is_layer=True))
    if depth > count[0]:
        changes.append(Change(f"{part}.layers", depth, depth - 1, layers[:-1], is_layer=True))
    return changes
