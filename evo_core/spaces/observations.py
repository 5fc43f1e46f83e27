"""Observations as leaves: every space, however nested, becomes a row of named arrays.

A plain space has one leaf. Leaves keep the environment's small types (images stay uint8) until a network reads them.
Imports no torch, because processes of environments import it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import Space, spaces

Arrays = dict[str, np.ndarray]
"""Observations, by the name of their leaf; each [..., *leaf.shape]."""

ROOT = "observation"
"""Name of the only leaf of a space that is not nested."""

SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"


class InvalidObservation(ValueError):
    """Raised for an observation outside its space; `finite` is False if only its values are not finite."""

    def __init__(self, message: str, *, finite: bool = True) -> None:
        super().__init__(message)
        self.finite = finite


@dataclass(frozen=True)
class Leaf:
    """One array of an observation: its path and its space."""

    path: tuple[str | int, ...]
    space: Space[Any]

    @cached_property
    def name(self) -> str:
        """The path with slashes, such as sensors/camera; `observation` for the only leaf."""
        return "/".join(map(str, self.path)) or ROOT

    @cached_property
    def label(self) -> str:
        """The name as the label of an axis, unlike that of any part of a network."""
        return f"leaf {self.name}"

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.space.shape or ())

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Storage type: small integers and booleans unchanged, indices as int64, everything else as float32."""
        given = np.dtype(self.space.dtype)
        if isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete):
            return np.dtype(np.int64)
        return given if given in (np.uint8, np.bool_, np.int8) else np.dtype(np.float32)

    @cached_property
    def image(self) -> tuple[int, ...] | None:
        """Permutation of axes to a channels-first image, stacked frames before channels; None for other leaves.

        Three axes are an image, whose smallest outer axis holds the channels (the last one when in doubt); four are
        a stack of images; two are one if their values are bytes and both sides have at least eight.
        """
        shape = self.shape
        if not isinstance(self.space, spaces.Box) or min(shape, default=0) == 0:
            return None
        match len(shape):
            case 2 if self.space.dtype == np.uint8 and min(shape) >= 8:
                return (0, 1)
            case 3:
                return (0, 1, 2) if shape[0] < shape[2] else (2, 0, 1)
            case 4:
                return (0, 1, 2, 3) if shape[1] < shape[3] else (0, 3, 1, 2)
        return None

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        assert self.image is not None
        *channels, height, width = (self.shape[axis] for axis in self.image)
        return int(np.prod(channels, initial=1)), height, width

    @cached_property
    def vector_size(self) -> int:
        """Length of its vector of floats, indices one-hot."""
        return spaces.flatdim(self.space)

    def find(self, observation: Any) -> Any:
        """Return this leaf of an observation."""
        for key in self.path:
            observation = observation[key]
        return observation

    def put(self, target: np.ndarray, index: int, value: Any) -> None:
        """Copy one observation of this leaf into a row; InvalidObservation when shape or type are not the space's."""
        item = value if isinstance(value, np.ndarray) else np.asarray(value)
        if item.shape != self.shape:
            raise InvalidObservation(f"leaf {self.name!r}: expected shape {self.shape}, got {item.shape}")
        if item.dtype != self.dtype:
            self.require_fit(item)
        target[index] = item

    def require_fit(self, values: np.ndarray) -> None:
        """Raise InvalidObservation unless values of another type keep their value when they are stored."""
        expected = np.dtype(self.space.dtype)
        if values.dtype.kind not in {"f": "fiub", "u": "uib", "i": "iub", "b": "b"}[expected.kind]:
            raise InvalidObservation(f"leaf {self.name!r}: expected {expected}, got {values.dtype}")
        if self.dtype.kind in "ui":
            limits = np.iinfo(self.dtype)
            if values.min() < limits.min or values.max() > limits.max:
                raise InvalidObservation(f"leaf {self.name!r}: expected {expected}, got {_shown(values)}")

    def check(self, values: np.ndarray) -> None:
        """Raise InvalidObservation unless rows of this leaf are finite and, where they are indices, in their space."""
        space = self.space
        if self.dtype.kind == "f":
            if not np.isfinite(values).all():
                raise InvalidObservation(f"leaf {self.name!r}: not finite: {_shown(values)}", finite=False)
        elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            low = space.start
            high = low + (space.n if isinstance(space, spaces.Discrete) else space.nvec)
            if not ((values >= low) & (values < high)).all():
                raise InvalidObservation(f"leaf {self.name!r}: outside {space}: {_shown(values)}")
        elif isinstance(space, spaces.MultiBinary) and not ((values == 0) | (values == 1)).all():
            raise InvalidObservation(f"leaf {self.name!r}: outside {space}: {_shown(values)}")

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw random rows: standard normal floats, uniform bytes and indices; [count, *shape]."""
        space, shape = self.space, (count, *self.shape)
        match space:
            case spaces.Discrete():
                return rng.integers(space.start, space.start + space.n, count)
            case spaces.MultiDiscrete():
                return rng.integers(space.start, space.start + space.nvec, shape)
            case _ if self.dtype == np.float32:
                return rng.standard_normal(shape, dtype=np.float32)
        return rng.integers(0, 256 if self.dtype == np.uint8 else 2, shape).astype(self.dtype)

    def outside(self, values: np.ndarray) -> bool:
        """Return True if any row of a Box is outside its bounds."""
        space = self.space
        return isinstance(space, spaces.Box) and bool(((values < space.low) | (values > space.high)).any())


class ObservationLayout:
    """The leaves of an observation space, in a fixed order; ValueError when the space is not supported."""

    def __init__(self, space: Space[Any]) -> None:
        self.space = space
        self.leaves = tuple(_leaves(space, ()))
        self._root = self.leaves[0] if self.leaves[0].path == () else None
        names = [leaf.name for leaf in self.leaves]
        if len(set(names)) < len(names):
            raise ValueError(f"observation space {space}: two leaves share a name in {names}; rename the keys")

    def empty(self, *shape: int) -> Arrays:
        """Allocate rows of the given shape for every leaf."""
        return {leaf.name: np.zeros((*shape, *leaf.shape), leaf.dtype) for leaf in self.leaves}

    def put(self, target: Arrays, index: int, observation: Any) -> None:
        """Copy one observation into a row of every leaf; InvalidObservation names the leaf that does not fit."""
        if self._root is not None:  # the hot path of plain spaces
            self._root.put(target[ROOT], index, observation)
            return
        for leaf in self.leaves:
            try:
                value = leaf.find(observation)
            except (KeyError, IndexError, TypeError):
                raise InvalidObservation(f"leaf {leaf.name!r}: missing in {type(observation).__name__}") from None
            leaf.put(target[leaf.name], index, value)

    def stack(self, observations: Sequence[Any]) -> Arrays:
        """Stack a sequence of observations into rows."""
        rows = self.empty(len(observations))
        for index, observation in enumerate(observations):
            self.put(rows, index, observation)
        return rows

    def unpack(self, batch: Any, count: int) -> Arrays:
        """Return the leaves of a batch of Gymnasium's vector environments."""
        rows = self.empty(count)
        for leaf in self.leaves:
            values = np.asarray(leaf.find(batch))
            if values.shape != rows[leaf.name].shape:
                raise InvalidObservation(f"leaf {leaf.name!r}: expected {rows[leaf.name].shape}, got {values.shape}")
            if values.dtype != leaf.dtype:
                leaf.require_fit(values)
            rows[leaf.name][:] = values
        return rows

    def draw(self, count: int, rng: np.random.Generator) -> Arrays:
        """Draw random rows: standard normal floats, and uniform bytes and indices."""
        return {leaf.name: leaf.draw(count, rng) for leaf in self.leaves}

    def check(self, rows: Arrays) -> None:
        """Raise InvalidObservation unless the rows of every leaf are valid."""
        for leaf in self.leaves:
            leaf.check(rows[leaf.name])


def take(rows: Arrays, index: Any) -> Arrays:
    """Copy rows out of every leaf."""
    return {name: np.array(values[index]) for name, values in rows.items()}


def concatenate(parts: Sequence[Arrays]) -> Arrays:
    """Stack single observations into rows."""
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def flatten_time(rows: Arrays) -> Arrays:
    """Merge the first two axes of every leaf."""
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in rows.items()}


def _leaves(space: Space[Any], path: tuple[str | int, ...]) -> Iterator[Leaf]:
    match space:
        case spaces.Dict():
            inner: Sequence[tuple[str | int, Space[Any]]] = list(space.spaces.items())
        case spaces.Tuple():
            inner = list(enumerate(space.spaces))
        case spaces.Box() | spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            if spaces.flatdim(space) == 0:
                raise ValueError(f"observation space {space} has no elements{_at(path)}; remove it")
            yield Leaf(path, space)
            return
        case _:
            hint = "; remove this leaf with the wrapper FilterObservation" if path else ""
            raise ValueError(f"observation space {space} is not supported{_at(path)}; supported: {SUPPORTED}{hint}")
    if not inner:
        raise ValueError(f"observation space {space} is empty{_at(path)}; remove it")
    for key, nested in inner:
        yield from _leaves(nested, (*path, key))


def _at(path: tuple[str | int, ...]) -> str:
    return f" (leaf {'/'.join(map(str, path))!r})" if path else ""


def _shown(values: np.ndarray) -> str:
    return np.array2string(values.reshape(-1), threshold=20, edgeitems=8, max_line_width=10_000)
