"""Only a correct learner solves these; they are really trained on."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from evo_core.agent import Agent, initial_state
from evo_core.envs.inspection import inspect_environment
from evo_core.envs.vectors import make_vect_envs
from evo_core.evaluation import evaluate
from evo_core.genome import initial_genome
from evo_core.numerics import one_thread
from evo_core.ppo.learn import learn
from evo_core.ppo.rollout import collect_rollouts
from tests.conftest import make_config

HYPERPARAMETERS = {
    "env.num_envs": 8,
    "algorithm.learn_step": 128,
    "algorithm.lr": 3e-3,
    "algorithm.update_epochs": 4,
    "algorithm.ent_coef": 0.0,
    "algorithm.gamma": 0.9,
    "algorithm.vf_coef": 1.0,
    "algorithm.max_grad_norm": 10.0,
}


def trained(name, steps=8192, seed=0, **overrides):
    config = make_config(f"Probe/{name}-v0", **{**HYPERPARAMETERS, "evaluation.episodes": 20, **overrides})
    spaces = inspect_environment(config).spaces
    rng = np.random.default_rng(seed)
    agent = Agent(initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng), spaces)
    envs = make_vect_envs(config.env, seeds=list(range(seed, seed + config.env.num_envs)))
    length = config.algorithm.learn_step // config.env.num_envs
    with one_thread():
        while envs.steps < steps:
            learn(agent, collect_rollouts(agent, envs, length, rng), config.algorithm, rng)
    envs.close()
    return agent, config


def value(agent, observation):
    with torch.no_grad():
        return float(agent.network.value({"observation": torch.tensor([[observation]])}, agent.no_memory(1)))


def test_value_only():
    agent, _ = trained("ValueOnly", **{"algorithm.lr": 1e-2})
    assert value(agent, 0.0) == pytest.approx(1.0, abs=0.05)


def test_observation_dependent_reward():
    agent, _ = trained("ObservationReward")
    assert value(agent, -1.0) == pytest.approx(-1.0, abs=0.05)
    assert value(agent, 1.0) == pytest.approx(1.0, abs=0.05)


def test_discounting():
    agent, _ = trained("Discounting")
    assert value(agent, 0.0) == pytest.approx(0.9, abs=0.05)
    assert value(agent, 1.0) == pytest.approx(1.0, abs=0.05)


def test_truncation_bootstraps_and_termination_does_not():
    agent, _ = trained("TruncationBootstrap", **{"algorithm.lr": 1e-2, "algorithm.gamma": 0.5})
    assert value(agent, 0.0) == pytest.approx(1 / (1 - 0.5), rel=0.05)


@pytest.mark.parametrize("name", ["ActionReward", "Policy", "TwoStepCredit", "DelayedReward"])
def test_the_best_actions_are_found(name):
    agent, config = trained(name)
    assert evaluate(agent, config, seeds=range(20)).fitness == 1.0


def test_continuous_actions_go_to_their_target():
    agent, config = trained("Continuous", steps=16_384)
    assert evaluate(agent, config, seeds=range(20)).fitness > -0.02


@pytest.mark.parametrize("separate", [True, False])
def test_policy_and_value_are_learned_with_one_encoder_and_with_two(separate):
    agent, config = trained("Policy", **{"network.share_encoder": not separate})
    assert evaluate(agent, config, seeds=range(20)).fitness == 1.0
    assert value(agent, 1.0) > 0.8


def test_discrete_spaces_need_not_start_at_zero():
    agent, config = trained("Shifted")
    assert evaluate(agent, config, seeds=range(20)).fitness == 1.0


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))])
@pytest.mark.parametrize("n", [4, 6])
def test_a_sparse_terminal_reward_is_learned(n, seed):
    overrides = {"algorithm.gamma": 0.99, "algorithm.ent_coef": 0.01}
    agent, config = trained(f"Grid{n}", steps=40_960, seed=seed, **overrides)
    assert evaluate(agent, config, seeds=range(20)).fitness >= 0.95


@pytest.mark.parametrize("n", [4, 6])
def test_the_grids_are_hard_for_a_random_policy(n):
    env, rng, successes = gym.make(f"Probe/Grid{n}-v0"), np.random.default_rng(0), 0
    for episode in range(300):
        env.reset(seed=episode)
        ended = False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(int(rng.integers(4)))
            ended, successes = terminated or truncated, successes + (reward > 0)
    assert successes / 300 < 0.1
