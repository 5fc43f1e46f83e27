"""Learning: the data of each epoch, an independent optimizer, and numbers that are not finite."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from evo_core.agent.agent import Agent, initial_state
from evo_core.envs.backends import make_vect_envs
from evo_core.genome.genome import initial_genome
from evo_core.networks.actor_critic import ActorCritic
from evo_core.ppo.learn import learn, prepare
from evo_core.ppo.loss import ppo_loss
from evo_core.ppo.rollout import collect_rollouts, rollout_lengths
from evo_core.ppo.sequences import Minibatch, Pieces, minibatches
from evo_core.records.failures import MemberFailure
from evo_core.spaces.observations import concatenate
from evo_core.spaces.spaces import Spaces
from tests.conftest import make_config
from tests.evo_core.test_loss import reference_loss


def make_agent(config, seed=0):
    env = gym.make(config.env.id)
    spaces = Spaces(env.observation_space, env.action_space)
    genome = initial_genome(config, spaces.observation)
    return Agent(initial_state(genome, spaces, 0.6, np.random.default_rng(seed)), spaces)


def make_rollout(agent, config, length=64):
    envs = make_vect_envs(config.env, seeds=[1, 2, 3, 4])
    try:
        return collect_rollouts(agent, envs, length, np.random.default_rng(1))
    finally:
        envs.close()


def numbered(count):
    column = torch.arange(count, dtype=torch.float32)
    return Minibatch({"observation": column.unsqueeze(1)}, *([column] * 5))


def steps(count):
    """Return pieces of one step each, without a memory."""
    return Pieces(np.arange(count), np.ones(count, np.int64)), torch.empty(count, 0)


@pytest.mark.parametrize("generator", [np.random.default_rng, torch.Generator().manual_seed])
@pytest.mark.parametrize(("count", "batch_size"), [(100, 32), (1, 64), (64, 64), (65, 64), (7, 1), (10, 4096)])
def test_every_step_is_trained_on_exactly_once_per_epoch_in_equal_minibatches(count, batch_size, generator):
    batches = list(minibatches(numbered(count), *steps(count), batch_size, generator(0)))
    sizes = [len(batch.returns) for batch in batches]
    assert sorted(torch.cat([batch.returns for batch in batches]).tolist()) == list(range(count))
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for batch in batches:
        for name in ("actions", "log_probs", "advantages", "values"):
            assert getattr(batch, name).tolist() == batch.returns.tolist()
        assert batch.observations["observation"].flatten().tolist() == batch.returns.tolist()


@pytest.mark.parametrize(
    ("steps", "per_env", "expected"),
    [(1024, 128, [128] * 8), (10, 4, [5, 5]), (10, 3, [4, 3, 3]), (5, 100, [5]), (3, 0.5, [1, 1, 1])],
)
def test_a_generation_is_cut_into_rollouts_that_differ_by_at_most_one_step(steps, per_env, expected):
    assert rollout_lengths(steps, per_env) == expected


def test_values_follow_time_and_truncated_steps_use_their_own_final_observation():
    config = make_config("MountainCar-v0")  # only ever truncated, after 200 steps
    agent = make_agent(config)
    rollout = make_rollout(agent, config, length=250)
    data, _, _ = prepare(agent, rollout, config.algorithm.model_copy(update={"gamma": 1.0, "gae_lambda": 0.0}))
    assert list(rollout.final_index) == [(199, b) for b in range(4)]
    with torch.no_grad():
        final = agent.network.value(agent.observe(concatenate(rollout.final_observations)), agent.no_memory(4))[2]
        last = agent.network.value(agent.observe(rollout.last_observations), rollout.last_memory)
    returns = data.returns.view(250, 4)  # with λ = 0 and γ = 1 the return is r + V(next)
    torch.testing.assert_close(returns[199, 2], final - 1)
    torch.testing.assert_close(returns[249], last - 1)
    torch.testing.assert_close(returns[:199], data.values.view(250, 4)[1:200] - 1)


def test_final_observations_are_those_of_their_episode_even_when_the_environment_reuses_its_buffer():
    config = make_config("Probe/ReusedBuffer-v0")
    rollout = make_rollout(make_agent(config), config, length=12)
    assert rollout.final_index == [(4, b) for b in range(4)] + [(9, b) for b in range(4)]
    assert [leaves["observation"].tolist() for leaves in rollout.final_observations] == [[5.0]] * 8


def test_a_ratio_that_overflows_in_the_clipped_branch_has_no_gradient():
    batch = numbered(1)
    batch = dataclasses.replace(batch, log_probs=torch.tensor([-100.0]), advantages=torch.tensor([1.0]))
    loss = ppo_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), batch, make_config().algorithm)
    assert loss.grad_log_probs.tolist() == [0.0]


def test_an_update_is_that_of_plain_autograd_with_clipping_and_adam():
    config = make_config()
    algorithm = config.algorithm.model_copy(update={"update_epochs": 3, "max_grad_norm": 0.05, "batch_size": 100})
    ours, reference = make_agent(config), make_agent(config)
    rollout = make_rollout(ours, config)
    data, pieces, memories = prepare(reference, rollout, algorithm)
    learn(ours, rollout, algorithm, np.random.default_rng(5))

    network = ActorCritic(reference.genome, reference.spaces)  # its parameters can be substituted, an agent's not
    network.load_state_dict(dict(reference.state().weights))
    separate = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    optimizer = torch.optim.Adam(separate, lr=algorithm.lr, eps=1e-5)
    rng = np.random.default_rng(5)
    for _ in range(3):
        for batch in minibatches(data, pieces, memories, 100, rng):
            outputs, values = torch.func.functional_call(
                network, dict(zip(names, separate, strict=True)), (batch.observations,)
            )
            policy = torch.distributions.Categorical(logits=outputs)
            optimizer.zero_grad()
            log_probs = policy.log_prob(batch.actions)
            reference_loss(log_probs, policy.entropy(), values, batch, algorithm).backward()
            torch.nn.utils.clip_grad_norm_(separate, 0.05)
            optimizer.step()
    expected = torch.cat([parameter.detach().flatten() for parameter in separate])
    torch.testing.assert_close(ours.parameters, expected, rtol=1e-4, atol=1e-5)


def test_episode_returns_are_the_sums_of_their_rewards():
    config = make_config()
    agent = make_agent(config)
    rollout = make_rollout(agent, config, length=300)
    expected, running = [], np.zeros(4)
    for t in range(300):
        running += rollout.rewards[t]
        for b in np.flatnonzero(rollout.terminated[t] | rollout.truncated[t]):
            expected.append(running[b])
            running[b] = 0
    assert len(expected) > 10
    assert rollout.episode_returns == expected


def test_an_update_stops_at_its_target_kl():
    config = make_config()
    agent = make_agent(config)
    algorithm = config.algorithm.model_copy(update={"update_epochs": 50, "lr": 0.01, "target_kl": 0.005})
    stats = learn(agent, make_rollout(agent, config), algorithm, np.random.default_rng(0))
    assert 1 <= stats.epochs < 50
    assert stats.approx_kl > 0.005


def test_a_rollout_of_one_step_is_learned_without_nan():
    config = make_config()
    agent = make_agent(config)
    stats = learn(agent, make_rollout(agent, config, length=1), config.algorithm, np.random.default_rng(0))
    assert torch.isfinite(agent.parameters).all()
    assert np.isfinite(stats.explained_variance)


def test_a_loss_that_is_not_finite_fails_the_member_with_its_step():
    config = make_config()
    agent = make_agent(config)
    rollout = make_rollout(agent, config)
    rollout.rewards[3, 1] = np.inf
    with pytest.raises(MemberFailure, match="nan_loss at step 77"):
        learn(agent, rollout, config.algorithm, np.random.default_rng(0), step=77)
