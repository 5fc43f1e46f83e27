"""An environment as small as one can be: walk along a corridor to its end."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Observation = NDArray[np.float32]


class Corridor(gym.Env[Observation, np.int64]):
    """A corridor: observes the position, from 0 to 1; actions move back or forward; the reward for reaching the end is
    1."""

    def __init__(self, length: int = 10) -> None:
        self.length, self.place = length, 0
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start somewhere in the first half."""
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(self.length // 2))
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Go one step back or on."""
        self.place = max(0, self.place + (1 if action else -1))
        done = self.place >= self.length
        return self._observe(), float(done), done, False, {}

    def _observe(self) -> Observation:
        return np.array([min(1.0, self.place / self.length)], np.float32)
