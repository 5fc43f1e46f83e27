"""PPO's loss against numbers worked out by hand, and its closed-form gradients against autograd."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_core.config.sections import AlgorithmConfig
from evo_core.networks.distributions.categorical import Categorical
from evo_core.networks.distributions.gaussian import DiagonalGaussian
from evo_core.ppo.loss import ppo_loss
from evo_core.ppo.sequences import Minibatch

ALGORITHM = AlgorithmConfig(clip_coef=0.2, ent_coef=0.01, vf_coef=0.5)


def minibatch(log_probs, advantages, returns, values):
    columns = map(torch.tensor, (log_probs, advantages, returns, values))
    return Minibatch({}, torch.zeros(len(log_probs)), *columns)


def reference_loss(log_probs, entropy, values, batch, algorithm):
    """The loss as the paper writes it, for autograd."""
    ratio, clip = (log_probs - batch.log_probs).exp(), algorithm.clip_coef
    surrogate = torch.min(ratio * batch.advantages, ratio.clamp(1 - clip, 1 + clip) * batch.advantages).mean()
    error = (values - batch.returns).square()
    if algorithm.clip_value:
        near = batch.values + (values - batch.values).clamp(-clip, clip)
        error = torch.max(error, (near - batch.returns).square())
    return -surrogate + algorithm.vf_coef * 0.5 * error.mean() - algorithm.ent_coef * entropy.mean()


def test_golden_numbers_with_one_ratio_clipped_above_and_one_below():
    batch = minibatch([math.log(0.5), math.log(0.5), 0.0], [1.0, -2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    ratios = torch.tensor([1.5, 0.5, 1.0])
    log_probs = batch.log_probs + ratios.log()
    loss = ppo_loss(log_probs, torch.tensor([0.6, 0.3, 0.0]), torch.tensor([0.0, 2.0, 4.0]), batch, ALGORITHM)
    policy, value, entropy, approx_kl, clip_fraction = map(float, loss.terms)
    # surrogate: min(1.5, 1.2)·1; min(0.5·−2, 0.8·−2) = −1.6; 3
    assert policy == pytest.approx(-(1.2 - 1.6 + 3.0) / 3)
    assert value == pytest.approx(0.5 * (1 + 0 + 1) / 3)
    assert entropy == pytest.approx(0.3)
    assert approx_kl == pytest.approx((0.5 - math.log(1.5) - 0.5 - math.log(0.5)) / 3, abs=1e-6)
    assert clip_fraction == pytest.approx(2 / 3)
    # only the third ratio is free: −rA/N; entropy: −ent_coef/N; value: vf_coef (V − R)/N
    assert loss.grad_log_probs.tolist() == pytest.approx([0.0, 0.0, -1.0])
    assert loss.grad_entropy == pytest.approx(-0.01 / 3)
    assert loss.grad_values.tolist() == pytest.approx([-0.5 / 3, 0.0, 0.5 / 3])


def test_value_clipping_takes_the_larger_of_both_errors():
    batch = minibatch([0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0])
    clipped = ALGORITHM.model_copy(update={"clip_value": True})
    values = torch.tensor([0.9, 0.1])  # clipped to 0.2 and 0.1
    loss = ppo_loss(torch.zeros(2), torch.zeros(2), values, batch, clipped)
    assert float(loss.terms[1]) == pytest.approx(0.5 * (0.8**2 + 0.9**2) / 2)
    assert loss.grad_values.tolist() == pytest.approx([0.0, 0.5 * -0.9 / 2])


def test_at_ratio_one_the_gradient_is_that_of_the_policy_gradient():
    batch = minibatch([-1.0, -2.0], [0.5, -1.5], [0.0, 0.0], [0.0, 0.0])
    loss = ppo_loss(batch.log_probs, torch.zeros(2), torch.zeros(2), batch, ALGORITHM)
    torch.testing.assert_close(loss.grad_log_probs, -batch.advantages / 2)


def test_terms_are_left_out_unless_asked_for():
    batch = minibatch([0.0], [1.0], [0.0], [0.0])
    assert ppo_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), batch, ALGORITHM, report=False).terms == ()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from(["discrete", "continuous"]))
def test_closed_form_gradients_are_those_of_autograd(seed, clip_value, kind):
    rng = np.random.default_rng(seed)
    algorithm = ALGORITHM.model_copy(update={"clip_value": clip_value, "ent_coef": 0.3})

    def normal(*shape):
        return torch.from_numpy(rng.normal(size=shape))

    if kind == "discrete":
        distribution = Categorical(gym.spaces.Discrete(3), 1.0)
        actions = torch.from_numpy(rng.integers(0, 3, 16))
        by_hand = torch.distributions.Categorical
    else:
        distribution = DiagonalGaussian(gym.spaces.Box(-1, 1, (3,)), 1.0).double()
        distribution.log_std.data = normal(3) * 0.3
        distribution.log_std.grad = torch.zeros(3, dtype=torch.float64)
        actions = normal(16, 3)
    outputs, values = normal(16, 3).requires_grad_(), normal(16).requires_grad_()
    batch = Minibatch({}, actions, normal(16) * 0.3 - 3, normal(16), normal(16), values.detach() + 0.2 * normal(16))

    terms = distribution.evaluate(outputs.detach(), actions)
    batch = Minibatch(
        batch.observations, actions, terms.log_probs + 0.3 * normal(16), batch.advantages, batch.returns, batch.values
    )
    loss = ppo_loss(terms.log_probs, terms.entropy, values.detach(), batch, algorithm)
    by_outputs = terms.backward(loss.grad_log_probs, loss.grad_entropy)

    if kind == "discrete":
        policy = by_hand(logits=outputs)
        log_probs, entropy = policy.log_prob(actions), policy.entropy()
    else:
        log_std = distribution.log_std.detach().clone().requires_grad_()
        policy = torch.distributions.Normal(outputs, log_std.exp())
        log_probs, entropy = policy.log_prob(actions).sum(-1), policy.entropy().sum(-1)
    torch.testing.assert_close(terms.log_probs, log_probs.detach())
    torch.testing.assert_close(terms.entropy.contiguous(), entropy.detach())
    reference_loss(log_probs, entropy, values, batch, algorithm).backward()
    torch.testing.assert_close(by_outputs, outputs.grad)
    torch.testing.assert_close(loss.grad_values, values.grad)
    if kind == "continuous":
        torch.testing.assert_close(distribution.log_std.grad, log_std.grad)
