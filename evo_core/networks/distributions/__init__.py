"""Action distributions for each supported action space."""

from typing import Any

from gymnasium import Space, spaces

from evo_core.networks.distributions.categorical import Categorical, MultiCategorical
from evo_core.networks.distributions.distribution import Distribution
from evo_core.networks.distributions.gaussian import DiagonalGaussian, SquashedGaussian
from evo_core.spaces.actions import require_supported


def make_distribution(space: Space[Any], *, squash: bool, std_init: float = 1.0) -> Distribution:
    """Return the distribution for an action space; raise ValueError if it is not supported or cannot be squashed."""
    require_supported(space, squash=squash)
    match space:
        case spaces.Discrete():
            return Categorical(space, std_init)
        case spaces.MultiDiscrete() | spaces.MultiBinary():
            return MultiCategorical(space, std_init)
        case spaces.Box():
            if not squash:
                return DiagonalGaussian(space, std_init)
            return SquashedGaussian(space, std_init)
    raise TypeError(f"no distribution is made for {type(space).__name__}")
