"""Validation of what environments return, shared by all backends."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Step = tuple[Any, float, bool, bool, Mapping[str, Any]]
"""Observation, reward, terminated, truncated, info."""

_NUMBERS, _FLAGS = frozenset({float, np.float64, np.float32}), frozenset({bool, np.bool_})
"""Types of rewards and flags that need no conversion: a call for each value would cost as much as CartPole."""


class ReturnedError(ValueError):
    """A value that Gymnasium's interface does not allow; the message names it with its type and shape."""


def read_step(returned: Any) -> Step:
    """Read what `step` of one environment returned; ReturnedError names what is wrong.

    Reward and flags may be numbers of any kind, and arrays of one element.
    """
    try:
        observation, reward, terminated, truncated, info = returned
    except (TypeError, ValueError):
        raise ReturnedError(
            f"step: expected (observation, reward, terminated, truncated, info), got {_described(returned)}"
        ) from None
    if type(reward) not in _NUMBERS:
        reward = _number(reward)
    if type(terminated) not in _FLAGS:
        terminated = _flag("terminated", terminated)
    if type(truncated) not in _FLAGS:
        truncated = _flag("truncated", truncated)
    if type(info) is not dict:
        require_info("step", info)
    return observation, reward, terminated, truncated, info


def read_reset(returned: Any) -> tuple[Any, Mapping[str, Any]]:
    """Read what `reset` of one environment returned; ReturnedError names what is wrong."""
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise ReturnedError(f"reset: expected (observation, info), got {_described(returned)}")
    require_info("reset", returned[1])
    return returned


def read_rewards(values: Any, count: int) -> np.ndarray:
    """Read the rewards of a vector of environments, [count] float64; ReturnedError names what is wrong."""
    found = _array(values)
    if found.size != count or found.dtype.kind not in "fiub":
        raise ReturnedError(f"reward: expected {count} numbers, got {_described(values)}")
    return found.reshape(count).astype(np.float64)


def read_flags(name: str, values: Any, count: int) -> np.ndarray:
    """Read a flag of a vector of environments, [count] bool; ReturnedError names what is wrong."""
    found = _array(values)
    if found.size != count or not _are_flags(found):
        raise ReturnedError(f"{name}: expected {count} truth values, got {_described(values)}")
    return found.reshape(count).astype(np.bool_)


def require_info(method: str, info: Any) -> None:
    """Raise ReturnedError unless an info is a dictionary."""
    if not isinstance(info, Mapping):
        raise ReturnedError(f"{method}: info: expected a dict, got {_described(info)}")


def _number(reward: Any) -> float:
    found = _array(reward)
    if found.size != 1 or found.dtype.kind not in "fiub":
        raise ReturnedError(f"reward: expected a number, got {_described(reward)}")
    return float(found.reshape(())[()])


def _flag(name: str, flag: Any) -> bool:
    found = _array(flag)
    if found.size != 1 or not _are_flags(found):
        raise ReturnedError(f"{name}: expected a truth value, got {_described(flag)}")
    return bool(found.reshape(())[()])


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except Exception:  # ragged lists, tensors on a device, and other failed conversions
        return np.empty(0, np.object_)


def _are_flags(found: np.ndarray) -> bool:
    """Return True for truth values, and for numbers that are 0 or 1."""
    return found.dtype.kind == "b" or (found.dtype.kind in "iuf" and bool(((found == 0) | (found == 1)).all()))


def _described(value: Any) -> str:
    """Format a value with its type and, if it has them, dtype and shape."""
    kind = type(value).__name__
    if isinstance(value, tuple | list):
        kind = f"{kind} of {len(value)}"
    if hasattr(value, "shape"):
        dtype = f"{value.dtype}, " if hasattr(value, "dtype") else ""
        kind = f"{kind}, {dtype}shape {tuple(value.shape)}"
    return f"{_shortened(value)} ({kind})"


def _shortened(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception as error:
        return f"a value whose repr raises {type(error).__name__}"
    return text if len(text) <= 100 else f"{text[:99]}…"
