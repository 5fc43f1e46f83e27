"""Number of operators that an update and a step of acting call, which dominates the cost of small networks.

If a bound is exceeded, something was added to the hot path. Each operator of an update costs half
a percent of the whole training; lower the bounds where operators went away.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from evo_core.agent.agent import Agent, initial_state
from evo_core.config.parsing import parse_config
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.episodes import play_episodes
from evo_core.genome.genome import initial_genome
from evo_core.ppo import learn as learning
from evo_core.ppo.rollout import collect_rollouts

VECTORS = {"network": {"latent_dim": 32, "encoder": {"hidden_size": [32, 32]}, "head": {"hidden_size": [32]}}}
LSTM = {"network": {"latent_dim": 32, "encoder": {"hidden_state_size": 64}, "head": {"hidden_size": [32]}}}


class Count(TorchDispatchMode):
    """Count the operators called in its body, those of autograd's backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return operator(*args, **(kwargs or {}))


def made(described, recurrent):
    config = parse_config(
        {
            "env": {"id": "CartPole-v1", "num_envs": 4},
            "algorithm": {"recurrent": recurrent, "learn_step": 64, "batch_size": 32, "update_epochs": 2},
            "training": {"max_steps": 10**6},
            "evaluation": {"episodes": 4},
            **described,
        }
    )
    spaces, rng = inspect_environment(config).spaces, np.random.default_rng(0)
    agent = Agent(initial_state(initial_genome(config, spaces.observation), spaces, 1.0, rng), spaces)
    return config, agent, make_vect_envs(config.env, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("described", "recurrent", "per_update", "reported", "per_step"),
    [(VECTORS, False, 89, 104, 17), (LSTM, True, 100, 115, 27)],
    ids=["vectors", "lstm"],
)
def test_updates_and_steps_call_no_more_operators_than_they_need(
    monkeypatch, described, recurrent, per_update, reported, per_step
):
    config, agent, envs = made(described, recurrent)
    rollout = collect_rollouts(agent, envs, 16, np.random.default_rng(0))
    update, counts = learning._update, []

    def counted(*args, report):
        with Count() as operators:
            terms = update(*args, report=report)
        counts.append((report, operators.count))
        return terms

    monkeypatch.setattr(learning, "_update", counted)
    learning.learn(agent, rollout, config.algorithm, np.random.default_rng(0))
    assert max(count for report, count in counts if not report) <= per_update
    assert max(count for report, count in counts if report) <= reported

    with Count() as few:
        collect_rollouts(agent, envs, 4, np.random.default_rng(0))
    with Count() as more:
        collect_rollouts(agent, envs, 8, np.random.default_rng(0))
    envs.close()
    assert (more.count - few.count) / 4 <= per_step


@pytest.mark.parametrize(("described", "recurrent"), [(VECTORS, False), (LSTM, True)], ids=["vectors", "lstm"])
def test_evaluation_calls_no_more_operators_per_step_than_training(described, recurrent):
    config, agent, envs = made(described, recurrent)
    with torch.inference_mode(), Count() as acting:
        agent.network.policy(agent.observe(envs.observations), agent.no_memory(4))
    envs.close()
    with Count() as operators:
        played = play_episodes(agent, config, [0, 1, 2, 3])
    # besides acting: the most likely actions, whether outputs are finite, dropping what has ended
    assert operators.count / played.lengths.max() <= acting.count + 8
