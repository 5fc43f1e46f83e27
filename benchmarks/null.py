"""An environment that costs nothing: one step per episode. Named `benchmarks.null:Null-v0`."""

import gymnasium as gym

from tests.probes import ActionReward

gym.register("Null-v0", entry_point=ActionReward, max_episode_steps=1)
