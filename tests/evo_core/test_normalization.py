"""Running statistics: equal to NumPy's over all data, inherited by offspring, unchanged by evaluation."""

import numpy as np
import pytest
import torch

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import CheckpointError, from_bytes, to_bytes
from evo_core.agent.normalization import Moments, are_statistics_complete, initial_statistics
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.episodes import evaluate
from evo_core.evolution.population import create_population, next_generation
from evo_core.local import run_member
from evo_core.ppo.learn import learn
from evo_core.ppo.rollout import collect_rollouts
from evo_core.spaces.observations import ObservationLayout
from evo_core.training import inherit
from tests.conftest import make_config

NORMAL = {"algorithm.normalize_observations": True, "algorithm.normalize_returns": True}


def test_moments_in_parts_are_those_of_the_whole():
    rows = np.random.default_rng(0).normal(1e3, 5, (1000, 3))
    moments = Moments(np.float64(0), np.zeros(3), np.zeros(3))
    for part in np.split(rows, [1, 2, 50, 400, 400]):
        moments.update(part)
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, rows.mean(0))
    np.testing.assert_allclose(moments.variance, rows.var(0))


def collected(config, agent, rollouts=3):
    envs, rng, seen = make_vect_envs(config.env, [1, 2, 3, 4]), np.random.default_rng(0), []
    for _ in range(rollouts):
        seen.append(collect_rollouts(agent, envs, 20, rng))
        learn(agent, seen[-1], config.algorithm, rng)
    return seen


def newborn(config):
    spaces = inspect_environment(config).spaces
    founder = create_population(config, spaces.observation).offspring[0]
    return Agent(inherit(config, founder, None, spaces)[0], spaces), spaces


def test_statistics_are_those_of_all_that_was_observed_and_returned():
    config = make_config("Pendulum-v1", **NORMAL)
    agent, _ = newborn(config)
    rollouts = collected(config, agent)
    observed = np.concatenate([r.observations["observation"].reshape(-1, 3) for r in rollouts])
    statistics = agent.state().statistics
    np.testing.assert_allclose(statistics["leaf observation.mean"], observed.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics["leaf observation.variance"], observed.var(0), rtol=1e-6)
    rewards = np.concatenate([r.rewards for r in rollouts]).astype(np.float64)  # no episode ends within 60 steps
    running, returns = np.zeros(4), []
    for row in rewards:
        running = config.algorithm.gamma * running + row
        returns.append(running)
    assert float(statistics["returns.count"]) == np.size(returns)
    assert float(statistics["returns.variance"]) == pytest.approx(np.var(returns))


def test_the_policy_sees_normal_numbers_and_the_value_scaled_returns():
    config = make_config("Pendulum-v1", **NORMAL)
    agent, _ = newborn(config)
    rollout = collected(config, agent)[-1]
    seen = agent.observe({"observation": rollout.observations["observation"].reshape(-1, 3)})["observation"]
    assert seen.dtype == torch.float32
    assert float(seen.std()) == pytest.approx(1, abs=0.4)
    rewards = agent.normalizer.before_learning(rollout, config.algorithm.gamma)
    assert abs(rewards).max() <= 10
    np.testing.assert_allclose(rewards, rollout.rewards / agent.normalizer.moments["returns"].deviation, rtol=1e-5)


def test_evaluation_leaves_statistics_alone_and_uses_them():
    config = make_config("Pendulum-v1", **NORMAL)
    agent, spaces = newborn(config)
    collected(config, agent)
    before = to_bytes(agent.state())
    fitness = evaluate(agent, config, [1, 2]).fitness
    assert to_bytes(agent.state()) == before
    state = from_bytes(before, spaces)
    blank = initial_statistics(ObservationLayout(spaces.observation), observations=True, returns=True)
    import dataclasses

    assert evaluate(Agent(dataclasses.replace(state, statistics=blank), spaces), config, [1, 2]).fitness != fitness


def test_statistics_are_inherited_and_updated_by_offspring():
    config = make_config("Pendulum-v1", **NORMAL)
    spaces = inspect_environment(config).spaces
    founders, blobs = create_population(config, spaces.observation), {}
    members = [run_member(config, offspring, blobs, spaces) for offspring in founders.offspring]
    commit = next_generation(config, founders, members)
    for offspring in commit.offspring:
        parent = from_bytes(blobs[offspring.parent_blob.sha256], spaces)
        child, _ = inherit(config, offspring, parent, spaces)
        assert all(torch.equal(child.statistics[k], v) for k, v in parent.statistics.items())
        assert float(child.statistics["leaf observation.count"]) == config.training.evo_steps
        grown = run_member(config, offspring, blobs, spaces)
        statistics = from_bytes(blobs[grown.training.blob.sha256], spaces).statistics
        assert float(statistics["leaf observation.count"]) == 2 * config.training.evo_steps


@pytest.mark.parametrize(
    ("name", "value"),
    [("leaf observation.variance", -1.0), ("returns.count", -1.0), ("leaf observation.mean", float("nan"))],
)
def test_unsound_statistics_are_refused(name, value):
    agent, spaces = newborn(make_config("Pendulum-v1", **NORMAL))
    state = agent.state()
    state.statistics[name].fill_(value)
    with pytest.raises(CheckpointError):
        from_bytes(to_bytes(state), spaces)


def test_statistics_of_another_shape_or_in_part_are_unsound():
    layout = ObservationLayout(inspect_environment(make_config("Pendulum-v1")).spaces.observation)
    whole = initial_statistics(layout, observations=True, returns=True)
    assert are_statistics_complete(whole, layout)
    assert are_statistics_complete({}, layout)
    assert not are_statistics_complete({k: v for k, v in whole.items() if k != "returns.count"}, layout)
    assert not are_statistics_complete({**whole, "leaf observation.mean": torch.zeros(4, dtype=torch.float64)}, layout)
