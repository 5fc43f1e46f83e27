"""Stable-Baselines3's PPO, and sb3-contrib's recurrent PPO."""

from itertools import pairwise

import torch
import workload as w
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class Encoder(BaseFeaturesExtractor):
    """Three layers that policy and value share."""

    def __init__(self, space: object) -> None:
        super().__init__(space, w.HIDDEN)
        sizes = [space.shape[0], w.HIDDEN, w.HIDDEN, w.HIDDEN]
        layers = [layer for a, b in pairwise(sizes) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Encode observations."""
        return self.layers(observations)


def agent() -> tuple[int, float]:
    sizes = {
        "features_extractor_class": Encoder,
        "net_arch": {"pi": [w.HEAD], "vf": [w.HEAD]},
        "activation_fn": torch.nn.ReLU,
    }
    return train(PPO("MlpPolicy", policy_kwargs=sizes, **settings()), w.ROLLOUTS)


def recurrent() -> tuple[int, float]:
    sizes = {
        "lstm_hidden_size": w.UNITS,
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "net_arch": {"pi": [w.HEAD], "vf": [w.HEAD]},
        "activation_fn": torch.nn.ReLU,
    }
    return train(RecurrentPPO("MlpLstmPolicy", policy_kwargs=sizes, **settings()), w.FEWER_ROLLOUTS)


def settings() -> dict[str, object]:
    torch.set_num_threads(1)
    sizes = {"n_steps": w.LENGTH, "batch_size": w.BATCH, "n_epochs": w.EPOCHS}
    return {"env": make_vec_env(w.ENV, w.ENVS), "device": "cpu", **sizes}


def train(model: PPO, rollouts: int) -> tuple[int, float]:
    model.learn(w.LEARN_STEP)
    steps = rollouts * w.LEARN_STEP
    return steps, w.timed(lambda: model.learn(steps))


if __name__ == "__main__":
    w.report({"agent": agent, "recurrent": recurrent})
