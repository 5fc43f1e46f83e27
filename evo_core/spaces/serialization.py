"""Spaces as JSON, so that a file can describe an agent's observations and actions without naming code."""

import math
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from pydantic import JsonValue

MOST_NUMBERS = 2**26
"""Maximum number of elements of a Box or MultiBinary space: a stack of ten full-HD images."""


def describe_space(space: Space[Any]) -> dict[str, JsonValue]:
    """Write a space as JSON. A Box's bounds are one number where they are all equal, and null where there is none."""
    kind = type(space).__name__
    match space:
        case spaces.Dict():
            return {"kind": kind, "spaces": [[key, describe_space(inner)] for key, inner in space.spaces.items()]}
        case spaces.Tuple():
            return {"kind": kind, "spaces": [describe_space(inner) for inner in space.spaces]}
        case spaces.Box():
            bounds = {"low": _shorten(space.low), "high": _shorten(space.high)}
            return {"kind": kind, "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
        case spaces.Discrete():
            return {"kind": kind, "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            sizes = {"nvec": space.nvec.tolist(), "start": np.asarray(space.start).tolist()}
            return {"kind": kind, "dtype": str(space.dtype), **sizes}
        case spaces.MultiBinary():
            return {"kind": kind, "n": space.n if isinstance(space.n, int) else list(space.n)}
    raise ValueError(f"space {space} has no description")


def read_space(described: Any) -> Space[Any]:
    """Create a space from JSON; raise KeyError, TypeError or ValueError if it does not describe one."""
    match described["kind"]:
        case "Dict":
            return spaces.Dict([(key, read_space(inner)) for key, inner in described["spaces"]])
        case "Tuple":
            return spaces.Tuple([read_space(inner) for inner in described["spaces"]])
        case "Box":
            shape, dtype = _checked(described["shape"]), np.dtype(described["dtype"])
            low, high = (
                _extend(described["low"], -np.inf, shape, dtype),
                _extend(described["high"], np.inf, shape, dtype),
            )
            return spaces.Box(low, high, shape, dtype.type)
        case "Discrete":
            return spaces.Discrete(described["n"], start=described["start"])
        case "MultiDiscrete":
            return spaces.MultiDiscrete(described["nvec"], np.dtype(described["dtype"]).type, start=described["start"])
        case "MultiBinary":
            n = described["n"]
            return spaces.MultiBinary(_checked(n) if isinstance(n, list) else _checked([n])[0])
    raise ValueError(f"no space: {described!r:.100}")


def _checked(shape: list[int]) -> tuple[int, ...]:
    """Raise ValueError for an impossible shape, before allocating anything."""
    if not all(type(side) is int and side >= 0 for side in shape) or math.prod(shape) > MOST_NUMBERS:
        raise ValueError(f"expected a shape of at most {MOST_NUMBERS} numbers, got {shape!r:.100}")
    return tuple(shape)


def _shorten(bounds: np.ndarray) -> JsonValue:
    def plain(value: float) -> float | None:
        return value if np.isfinite(value) else None

    if bounds.size and (bounds == bounds.flat[0]).all():
        return plain(bounds.flat[0].item())
    return [plain(value) for value in bounds.reshape(-1).tolist()]


def _extend(bounds: Any, missing: float, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    values = [missing if bound is None else bound for bound in (bounds if isinstance(bounds, list) else [bounds])]
    return np.broadcast_to(
        np.array(values).astype(dtype), int(np.prod(shape)) if len(values) == 1 else len(values)
    ).reshape(shape)
