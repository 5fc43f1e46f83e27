"""Training on probe environments that only a correct learner solves."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
import torch

from evo_core.agent.agent import Agent, initial_state
from evo_core.agent.normalization import initial_statistics
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.episodes import evaluate
from evo_core.genome.genome import initial_genome
from evo_core.numerics.provenance import one_thread
from evo_core.ppo.learn import learn
from evo_core.ppo.rollout import collect_rollouts
from evo_core.spaces.observations import ObservationLayout
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


SOLVED = 8192
"""Steps that every probe is trained for unless it says otherwise: two to four times what the slowest ones needed."""


def trained(name, steps=SOLVED, seed=0, **overrides):
    config = make_config(f"Probe/{name}-v0", **{**HYPERPARAMETERS, "evaluation.episodes": 20, **overrides})
    spaces = inspect_environment(config).spaces
    rng = np.random.default_rng(seed)
    normal = initial_statistics(
        ObservationLayout(spaces.observation),
        observations=config.algorithm.normalize_observations,
        returns=config.algorithm.normalize_returns,
    )
    agent = Agent(initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng, normal), spaces)
    envs = make_vect_envs(config.env, seeds=list(range(seed, seed + config.env.num_envs)))
    length = config.algorithm.learn_step // config.env.num_envs
    with one_thread():
        while envs.steps < steps:
            learn(agent, collect_rollouts(agent, envs, length, rng), config.algorithm, rng)
    envs.close()
    return agent, config


def slowly(*values):
    """Mark a case as slow, because another case is similar."""
    return pytest.param(*values, marks=pytest.mark.slow)


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


GRIDS = [slowly(n, seed) if (n, seed) != (4, 0) else (n, seed) for n, seed in product((4, 6), range(5))]


@pytest.mark.parametrize(("n", "seed"), GRIDS)
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


MEMORY = {"algorithm.recurrent": True, "network.encoder.hidden_state_size": 16, "network.encoder.max_seq_len": 8}


@pytest.mark.parametrize(("cell", "share_encoder"), [("lstm", True), ("gru", False)])
def test_a_sign_shown_once_is_remembered(cell, share_encoder):
    overrides = {**MEMORY, "network.encoder.cell": cell, "network.share_encoder": share_encoder}
    agent, config = trained("Remember", **{**overrides, "algorithm.gamma": 0.99})
    assert evaluate(agent, config, seeds=range(40)).fitness == 1.0


def test_without_a_memory_nothing_beats_a_guess():
    agent, config = trained("Remember")
    assert abs(evaluate(agent, config, seeds=range(200)).fitness) < 0.3


def test_masks_hold_for_a_policy_with_a_memory():
    agent, config = trained("MaskedMemory", **MEMORY, **{"env.kwargs": {"delay": 2}})
    assert evaluate(agent, config, seeds=range(40)).fitness == 1.0


def test_a_mask_forbids_in_rollout_learning_and_evaluation_alike():
    agent, config = trained("ForbiddenFruit")
    assert evaluate(agent, config, seeds=range(40)).fitness == 1.0
    drawn = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"deterministic": False})})
    assert evaluate(agent, drawn, seeds=range(40)).fitness > 0.9


@pytest.mark.parametrize(
    ("name", "best", "overrides"),
    [
        ("MultiDiscreteSigns", 2.0, {}),
        ("Switches", 1.0, {}),
        ("MaskedChoices", 1.0, {}),
        slowly("MaskedChoices", 1.0, MEMORY),
        ("Liar", 1.0, {}),
        ("Pair", 1.0, {}),
        ("BrightPixel", 1.0, {"network.encoder.stride_size": [1, 2]}),
        slowly("BrightPixel", 1.0, {"network.encoder.kind": "mlp"}),
        ("Liar", 1.0, {"network.encoder.kind": "simba"}),
        ("Liar", 1.0, MEMORY),
        slowly("BrightPixel", 1.0, MEMORY),
    ],
)
def test_every_kind_of_space_is_learned(name, best, overrides):
    agent, config = trained(name, **overrides)
    assert evaluate(agent, config, seeds=range(100)).fitness >= 0.97 * best


def test_squashed_actions_go_to_their_targets():
    agent, config = trained("Squashed", steps=24_576, **{"network.squash_output": True})
    assert evaluate(agent, config, seeds=range(20)).fitness > -0.01


def test_normalization_makes_learnable_what_is_far_from_zero():
    normal = {"algorithm.normalize_observations": True, "algorithm.normalize_returns": True}
    agent, config = trained("FarAway", steps=16_384, **normal)
    assert evaluate(agent, config, seeds=range(40)).fitness == 1000.0
    plain, config = trained("FarAway", steps=16_384)
    assert evaluate(plain, config, seeds=range(40)).fitness < 1000.0
