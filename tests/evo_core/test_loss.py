"""PPO's loss against numbers worked out by hand, and its gradient at the first step."""

import math

import pytest
import torch

from evo_core.ppo.loss import Minibatch, ppo_loss
from evo_core.sections import AlgorithmConfig

ALGORITHM = AlgorithmConfig(clip_coef=0.2, ent_coef=0.01, vf_coef=0.5)


def minibatch(log_probs, advantages, returns, values):
    column = torch.tensor
    return Minibatch(
        torch.zeros(len(log_probs), 1),
        torch.zeros(len(log_probs)),
        *map(column, (log_probs, advantages, returns, values)),
    )


def test_golden_numbers_with_one_ratio_clipped_above_and_one_below():
    batch = minibatch([math.log(0.5), math.log(0.5), 0.0], [1.0, -2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    ratios = torch.tensor([1.5, 0.5, 1.0])
    log_probs = batch.log_probs + ratios.log()
    loss = ppo_loss(log_probs, torch.tensor([0.6, 0.3, 0.0]), torch.tensor([0.0, 2.0, 4.0]), batch, ALGORITHM)
    # surrogate: min(1.5, 1.2)·1; min(0.5·−2, 0.8·−2) = −1.6; 3
    assert float(loss.policy) == pytest.approx(-(1.2 - 1.6 + 3.0) / 3)
    assert float(loss.value) == pytest.approx(0.5 * (1 + 0 + 1) / 3)
    assert float(loss.entropy) == pytest.approx(0.3)
    assert float(loss.total) == pytest.approx(float(loss.policy) + 0.5 * float(loss.value) - 0.01 * 0.3)
    kl = (0.5 - math.log(1.5) - 0.5 - math.log(0.5)) / 3
    assert float(loss.approx_kl) == pytest.approx(kl, abs=1e-6)
    assert float(loss.clip_fraction) == pytest.approx(2 / 3)


def test_value_clipping_takes_the_larger_of_both_errors():
    batch = minibatch([0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0])
    clipped = ALGORITHM.model_copy(update={"clip_value": True})
    values = torch.tensor([0.9, 0.1])  # clipped to 0.2 and 0.1
    loss = ppo_loss(torch.zeros(2), torch.zeros(2), values, batch, clipped)
    assert float(loss.value) == pytest.approx(0.5 * (0.8**2 + 0.9**2) / 2)


def test_at_ratio_one_the_gradient_is_that_of_the_policy_gradient():
    batch = minibatch([-1.0, -2.0], [0.5, -1.5], [0.0, 0.0], [0.0, 0.0])
    log_probs = batch.log_probs.clone().requires_grad_()
    ppo_loss(log_probs, torch.zeros(2), torch.zeros(2), batch, ALGORITHM).total.backward()
    torch.testing.assert_close(log_probs.grad, -batch.advantages / 2)


def test_a_clipped_ratio_that_would_move_further_out_has_no_gradient():
    batch = minibatch([0.0], [1.0], [0.0], [0.0])
    log_probs = torch.tensor([math.log(1.5)], requires_grad=True)
    ppo_loss(log_probs, torch.zeros(1), torch.zeros(1), batch, ALGORITHM).total.backward()
    assert log_probs.grad.tolist() == [0.0]
