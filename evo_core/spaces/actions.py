"""Action spaces that are supported, and action masks of environments.

Imports no torch: processes of environments do without, and so do commands that refuse one.
"""

from typing import Any

import numpy as np
from gymnasium import Space, spaces

SUPPORTED = "Discrete, MultiDiscrete, MultiBinary, Box of floats"


def require_supported(space: Space[Any], *, squash: bool = False) -> None:
    """Raise ValueError if there is no action distribution for a space, or if its actions cannot be squashed."""
    match space:
        case spaces.Discrete():
            return
        case spaces.MultiDiscrete() | spaces.MultiBinary() if spaces.flatdim(space) > 0:
            return
        case spaces.Box() if spaces.flatdim(space) > 0 and np.dtype(space.dtype).kind == "f":
            if squash and not (space.is_bounded() and (space.low < space.high).all()):
                raise ValueError(
                    f"network.squash_output: action space {space} has no range to squash into "
                    f"({_open_sides(space)}); set it to false: then actions are clipped where there is a bound"
                )
            return
    raise ValueError(f"action space {space} is not supported; supported: {SUPPORTED}")


def mask_size(space: Space[Any]) -> int:
    """Return how many options a mask allows or forbids, over all choices; 0 for a space that takes no mask."""
    match space:
        case spaces.Discrete():
            return int(space.n)
        case spaces.MultiDiscrete():
            return int(space.nvec.sum())
        case spaces.MultiBinary():
            return 2 * spaces.flatdim(space)
    return 0


def read_mask(space: Space[Any], mask: Any) -> np.ndarray:
    """Convert an environment's action mask to booleans per option, [mask_size].

    Masks are those of Gymnasium's `sample`. Discrete: n numbers, of which zero forbids. MultiDiscrete: one such mask
    per choice, in a tuple or one after the other. MultiBinary: 0 or 1 where only that value is allowed, 2 where both
    are. ValueError when shape or type do not fit, or nothing is allowed.
    """
    match space:
        case spaces.Discrete():
            return _with_a_choice(_checked(np.asarray(mask), (int(space.n),)).astype(np.bool_), [0])
        case spaces.MultiBinary():
            values = _checked(np.asarray(mask), space.shape).reshape(-1)
            return np.stack([values != 1, values != 0], 1).reshape(-1)
        case spaces.MultiDiscrete():
            options = space.nvec.reshape(-1).tolist()
            flat = np.concatenate([np.ravel(part) for part in _parts(mask)]) if isinstance(mask, tuple | list) else mask
            allowed = _checked(np.ravel(np.asarray(flat)), (sum(options),)).astype(np.bool_)
            return _with_a_choice(allowed, np.cumsum((0, *options[:-1])))
    raise ValueError(f"action_mask: action space {space} takes no mask")


def _open_sides(space: spaces.Box) -> str:
    below, above = np.flatnonzero(~space.bounded_below).tolist(), np.flatnonzero(~space.bounded_above).tolist()
    empty = np.flatnonzero(space.low == space.high).tolist()
    return f"elements unbounded below: {below}, above: {above}, with one value: {empty}"


def _parts(mask: Any) -> list[Any]:
    """Flatten nested tuples of masks."""
    return [inner for part in mask for inner in (_parts(part) if isinstance(part, tuple | list) else [part])]


def _checked(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if mask.shape != shape or mask.dtype.kind not in "iub":
        raise ValueError(f"action_mask: expected whole numbers of shape {shape}, got {mask.dtype} {mask.shape}")
    return mask


def _with_a_choice(allowed: np.ndarray, starts: Any) -> np.ndarray:
    """Return a mask in which every choice has an option left; `starts` are the places of their first options."""
    if not np.logical_or.reduceat(allowed, starts).all():
        raise ValueError(f"action_mask: expected at least one allowed option per choice, got {allowed.tolist()}")
    return allowed
