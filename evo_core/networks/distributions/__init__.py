"""Action distributions for each supported action space."""

from typing import Any

import numpy as np
from gymnasium import Space, spaces

from evo_core.networks.distributions.categorical import Categorical, MultiCategorical
from evo_core.networks.distributions.distribution import Distribution
from evo_core.networks.distributions.gaussian import DiagonalGaussian, SquashedGaussian

SUPPORTED = "Discrete, MultiDiscrete, MultiBinary, Box of floats"


def make_distribution(space: Space[Any], *, squash: bool, std_init: float = 1.0) -> Distribution:
    """Return the distribution for an action space; raise ValueError if it is not supported or cannot be squashed."""
    match space:
        case spaces.Discrete():
            return Categorical(space, std_init)
        case spaces.MultiDiscrete() | spaces.MultiBinary() if spaces.flatdim(space) > 0:
            return MultiCategorical(space, std_init)
        case spaces.Box() if spaces.flatdim(space) > 0 and np.dtype(space.dtype).kind == "f":
            if not squash:
                return DiagonalGaussian(space, std_init)
            if not (space.is_bounded() and (space.low < space.high).all()):
                raise ValueError(
                    f"network.squash_output: action space {space} has no range to squash into "
                    f"({_open_sides(space)}); set it to false: then actions are clipped where there is a bound"
                )
            return SquashedGaussian(space, std_init)
    raise ValueError(f"action space {space} is not supported; supported: {SUPPORTED}")


def _open_sides(space: spaces.Box) -> str:
    below, above = np.flatnonzero(~space.bounded_below).tolist(), np.flatnonzero(~space.bounded_above).tolist()
    empty = np.flatnonzero(space.low == space.high).tolist()
    return f"elements unbounded below: {below}, above: {above}, with one value: {empty}"
