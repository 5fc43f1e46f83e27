"""Gymnasium's own vector of single environments."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv


class GymSync:
    """Step environments one after the other in Gymnasium's SyncVectorEnv."""

    def make(self, env_id: str, seeds: Sequence[int], kwargs: Mapping[str, Any]) -> VectorEnv[Any, Any, Any]:
        """Make one environment per seed; a finished one is reset within the step that ended it."""
        return SyncVectorEnv([partial(gym.make, env_id, **kwargs)] * len(seeds), autoreset_mode=AutoresetMode.SAME_STEP)
