"""A team's environments: importing the package registers them, as `env.id: my_envs:Corridor-v0` asks for."""

import gymnasium as gym

gym.register("Corridor-v0", entry_point="my_envs.corridor:Corridor", max_episode_steps=50)
