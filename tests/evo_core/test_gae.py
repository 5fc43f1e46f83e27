"""Golden numbers for advantages: an independent recursion in plain Python, episode by episode."""

import itertools

import numpy as np
import pytest
import torch

from evo_core.ppo.gae import generalized_advantages, normalize

GAMMA, LAMBDA = 0.9, 0.8


def advantages(rewards, values, next_values, terminated, truncated):
    def column(row, dtype=torch.float64):
        return torch.tensor(row, dtype=dtype).unsqueeze(1)

    result = generalized_advantages(
        column(rewards),
        column(values),
        column(next_values),
        column(terminated, torch.bool),
        column(truncated, torch.bool),
        GAMMA,
        LAMBDA,
    )
    return result.squeeze(1).tolist()


def episode_by_episode(rewards, values, next_values, terminated, truncated):
    """Sum (γλ)^k δ[t+k] to the end of the episode that step t belongs to, or of the rollout."""
    deltas = [
        r + (0.0 if end else GAMMA * following) - v
        for r, v, following, end in zip(rewards, values, next_values, terminated, strict=True)
    ]
    result = []
    for t in range(len(rewards)):
        total, weight = 0.0, 1.0
        for k in range(t, len(rewards)):
            total += weight * deltas[k]
            if terminated[k] or truncated[k]:
                break
            weight *= GAMMA * LAMBDA
        result.append(total)
    return result


def test_golden_numbers_of_one_terminated_episode():
    # δ = [1 + .9·.4 − .5, 2 + .9·.3 − .4, 3 − .3] = [.86, 1.87, 2.7]; A = δ + .72·A'
    got = advantages([1, 2, 3], [0.5, 0.4, 0.3], [0.4, 0.3, 99.0], [0, 0, 1], [0, 0, 0])
    assert got == pytest.approx([0.86 + 0.72 * (1.87 + 0.72 * 2.7), 1.87 + 0.72 * 2.7, 2.7])


def test_golden_numbers_of_one_truncated_episode():
    # the last step bootstraps from its own final observation, whose value is 10
    got = advantages([1, 2, 3], [0.5, 0.4, 0.3], [0.4, 0.3, 10.0], [0, 0, 0], [0, 0, 1])
    last = 3 + 0.9 * 10 - 0.3
    assert got == pytest.approx([0.86 + 0.72 * (1.87 + 0.72 * last), 1.87 + 0.72 * last, last])


def test_the_end_of_a_rollout_in_mid_episode_bootstraps_like_a_truncation():
    row = [1, 2, 3], [0.5, 0.4, 0.3], [0.4, 0.3, 10.0], [0, 0, 0]
    assert advantages(*row, [0, 0, 0]) == pytest.approx(advantages(*row, [0, 0, 1]))


@pytest.mark.parametrize("ends", list(itertools.product([None, "terminated", "truncated"], repeat=4)))
def test_ends_at_every_position_agree_with_a_recursion_over_episodes(ends):
    rng = np.random.default_rng(0)
    rewards, values, next_values = (rng.normal(size=4).tolist() for _ in range(3))
    terminated = [end == "terminated" for end in ends]
    truncated = [end == "truncated" for end in ends]
    expected = episode_by_episode(rewards, values, next_values, terminated, truncated)
    assert advantages(rewards, values, next_values, terminated, truncated) == pytest.approx(expected)


def test_environments_do_not_leak_into_each_other():
    rng = np.random.default_rng(1)
    tensors = [torch.tensor(rng.normal(size=(5, 3))) for _ in range(3)]
    ends = [torch.tensor(rng.random((5, 3)) < 0.3) for _ in range(2)]
    together = generalized_advantages(*tensors, *ends, GAMMA, LAMBDA)
    for b in range(3):
        alone = generalized_advantages(*(x[:, b : b + 1] for x in (*tensors, *ends)), GAMMA, LAMBDA)
        torch.testing.assert_close(together[:, b : b + 1], alone)


@pytest.mark.parametrize("advantage", [torch.tensor([3.0]), torch.full((7,), -2.0)])
def test_normalizing_one_or_constant_advantages_gives_zeros(advantage):
    assert normalize(advantage).tolist() == [0.0] * len(advantage)


def test_normalized_advantages_have_mean_zero_and_deviation_one():
    result = normalize(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert float(result.mean()) == pytest.approx(0, abs=1e-6)
    assert float(result.std(correction=0)) == pytest.approx(1, abs=1e-6)
