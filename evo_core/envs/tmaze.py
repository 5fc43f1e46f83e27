"""The T-maze (Bakker 2002): a sign at the start tells which way to turn at the end of a long corridor."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

WEST, EAST, NORTH, SOUTH = range(4)


class TMaze(gym.Env[Any, Any]):
    """A corridor of `length` steps to the east, then a junction: north or south, as the sign at the start said.

    Observes [sign, corridor, junction]: the sign is ±1 in the first observation and 0 from then on. The right turn
    gives 4, the wrong one −1, both end the episode; every other step costs 0.1 unless it leads to the east.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, length: int = 10) -> None:
        if length < 1:
            raise ValueError(f"length: expected at least 1, got {length}")
        self.length = length
        self.observation_space = Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = Discrete(4)
        self._place, self._sign, self._first = 0, 1, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start at the sign."""
        super().reset(seed=seed)
        self._place, self._first = 0, True
        self._sign = int(self.np_random.choice((-1, 1)))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move, or turn at the junction."""
        self._first = False
        if self._place == self.length and action in (NORTH, SOUTH):
            right = (action == NORTH) == (self._sign > 0)
            return self._observe(), 4.0 if right else -1.0, True, False, {}
        before = self._place
        self._place = min(max(before + (action == EAST) - (action == WEST), 0), self.length)
        return self._observe(), 0.0 if self._place > before else -0.1, False, False, {}

    def _observe(self) -> np.ndarray:
        junction = self._place == self.length
        return np.array([self._sign * self._first, not junction, junction], np.float32)


def register() -> None:
    """Register evolve/TMaze-v0, unless it is."""
    if "evolve/TMaze-v0" not in gym.registry:
        gym.register("evolve/TMaze-v0", entry_point="evo_core.envs.tmaze:TMaze", max_episode_steps=100)
