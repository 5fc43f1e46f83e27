"""Score a policy with Stable-Baselines3's `evaluate_policy`.

    evolve export RUN --format safetensors --output policy.safetensors
    python sb3_evaluate.py policy.safetensors [EPISODES [SEED]]

Recurrent policies work: `evaluate_policy` hands their memory back. Action masks do not: it passes no infos on.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import evo_core
from evo_core.config.sections import EnvConfig
from evo_core.envs.making import make_env


class Model:
    """An agent with the `predict` that Stable-Baselines3 asks for."""

    def __init__(self, file: Path) -> None:
        self.agent = evo_core.load_agent(file.read_bytes())

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Act on a batch; `state` is the memory that the last call returned."""
        if isinstance(observation, dict):
            names, rows = list(observation), zip(*observation.values(), strict=True)
            shown: list[Any] = [dict(zip(names, row, strict=True)) for row in rows]
        else:
            shown = list(observation)
        memory = self.agent.no_memory(len(shown)) if state is None else state[0]
        if episode_start is not None:
            memory = memory * (1.0 - memory.new_tensor(episode_start).unsqueeze(1))
        actions, memory = self.agent.act(shown, memory)
        return np.array(list(actions)), (memory,)


if __name__ == "__main__":
    file, episodes, seed = (*sys.argv[1:], *("", "10", "0")[len(sys.argv) - 1 :])
    header = json.loads(safe_open(file, "numpy").metadata()["evolve"])
    envs = DummyVecEnv([lambda: Monitor(make_env(EnvConfig(**header["card"]["env"])))])
    envs.seed(int(seed))
    mean, deviation = evaluate_policy(Model(Path(file)), envs, int(episodes))
    print(mean, deviation)
