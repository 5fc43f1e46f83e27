"""Wrappers that a configuration can name in addition to Gymnasium's."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box


class HideObservation(gym.ObservationWrapper[Any, Any, Any]):
    """Removes elements of a vector observation, such as velocities, so that the state is only partially observable.

    `indices` are the elements to remove.
    """

    def __init__(self, env: gym.Env[Any, Any], indices: Sequence[int]) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise TypeError(f"HideObservation: expected a Box of one dimension, got {space}")
        if not all(0 <= index < space.shape[0] for index in indices):
            raise ValueError(f"HideObservation: expected indices from 0 to {space.shape[0] - 1}, got {list(indices)}")
        self._kept = np.setdiff1d(np.arange(space.shape[0]), indices)
        self.observation_space = Box(space.low[self._kept], space.high[self._kept], dtype=space.dtype.type)

    def observation(self, observation: Any) -> Any:
        """Return the other elements."""
        return observation[self._kept]
