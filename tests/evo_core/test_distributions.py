"""Distributions against torch's, numeric integrals and plain counting; masks."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from evo_core.networks.distributions import make_distribution
from evo_core.networks.distributions.distribution import masked
from evo_core.spaces.actions import read_mask

OPTIONS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@given(OPTIONS, st.integers(0, 999))
@settings(max_examples=50)
def test_several_choices_are_independent_categoricals(options, seed):
    distribution = make_distribution(spaces.MultiDiscrete(options), squash=False)
    logits = normal(seed, 6, sum(options)).requires_grad_()
    policies = [torch.distributions.Categorical(logits=part) for part in logits.split(options, 1)]
    actions = torch.stack([torch.from_numpy(np.random.default_rng(seed).integers(0, n, 6)) for n in options], 1)
    terms = distribution.evaluate(logits.detach(), actions)
    log_probs = sum(p.log_prob(a) for p, a in zip(policies, actions.unbind(1), strict=True))
    entropy = sum(p.entropy() for p in policies)
    torch.testing.assert_close(terms.log_probs, log_probs)
    torch.testing.assert_close(terms.entropy, entropy)
    weights = normal(seed + 1, 6)
    ((weights * log_probs).sum() + 0.3 * entropy.sum()).backward()
    torch.testing.assert_close(terms.backward(weights, 0.3), logits.grad)


@pytest.mark.parametrize(
    ("space", "mask", "allowed"),
    [
        (spaces.Discrete(3, start=7), np.array([0, 1, 1], np.int8), {(8,), (9,)}),
        (spaces.MultiDiscrete([2, 3]), (np.array([1, 0], np.int8), np.array([0, 1, 1], np.int8)), {(0, 1), (0, 2)}),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 0, 0, 1, 1]), {(0, 1), (0, 2)}),
        (spaces.MultiBinary(2), np.array([2, 1], np.int8), {(0, 1), (1, 1)}),
    ],
)
def test_a_mask_forbids_what_gymnasiums_mask_forbids(space, mask, allowed):
    distribution, count = make_distribution(space, squash=False), 400
    masks = torch.from_numpy(np.tile(read_mask(space, mask), (count, 1)))
    outputs = masked(normal(0, 1, distribution.outputs).repeat(count, 1), masks)
    noise = torch.from_numpy(distribution.noise(np.random.default_rng(0), 1, count)[0])
    drawn = distribution.sample(outputs, noise)
    taken = {tuple(np.ravel(action).tolist()) for action in distribution.to_env(drawn.numpy())}
    assert taken == allowed
    assert tuple(np.ravel(next(iter(distribution.to_env(distribution.mode(outputs).numpy())))).tolist()) in allowed
    terms = distribution.evaluate(outputs, drawn)
    probabilities = {tuple(np.ravel(a)): float(p.exp()) for a, p in zip(drawn.numpy(), terms.log_probs, strict=True)}
    assert sum(probabilities.values()) == pytest.approx(1.0)
    gradient = terms.backward(torch.ones(count, dtype=outputs.dtype), -0.5)
    assert torch.isfinite(gradient).all()
    assert gradient[~masks].abs().max() == 0
    if isinstance(mask, tuple) or mask.dtype == np.int8:
        space.seed(0)
        assert {tuple(np.ravel(space.sample(mask)).tolist()) for _ in range(200)} == allowed


@pytest.mark.parametrize(
    ("space", "mask", "message"),
    [
        (spaces.Discrete(3), np.zeros(3, np.int8), "at least one allowed option"),
        (spaces.Discrete(3), np.ones(4, np.int8), r"expected whole numbers of shape \(3,\), got int8 \(4,\)"),
        (spaces.Discrete(3), np.ones(3), "expected whole numbers"),
        (spaces.MultiDiscrete([2, 2]), np.array([1, 1, 0, 0]), "at least one allowed option per choice"),
        (spaces.Box(-1, 1, (2,)), np.ones(2), "takes no mask"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(space, mask, message):
    with pytest.raises(ValueError, match=message):
        read_mask(space, mask)


def box(low, high):
    return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


def squashed(low, high, std=0.6):
    space = box(low, high)
    distribution = make_distribution(space, squash=True, std_init=std).double()
    distribution.log_std.data = torch.log(torch.full((len(low),), std, dtype=torch.float64))
    distribution.log_std.grad = torch.zeros(len(low), dtype=torch.float64)
    return space, distribution


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.6), (1.3, 0.3), (-2.0, 1.0), (0.4, 1.6)])
def test_a_squashed_normal_is_a_density_over_its_bounds_with_the_entropy_of_it(mean, std):
    space, distribution = squashed([-2.0], [3.0], std)

    def density(action):
        u = np.arctanh((action - 0.5) / 2.5)
        terms = distribution.evaluate(torch.tensor([[mean]]).double(), torch.tensor([[u]]).double())
        return float(terms.log_probs.exp())

    edge = 1e-9
    total, _ = quad(density, -2 + edge, 3 - edge, limit=500)
    assert total == pytest.approx(1.0, abs=1e-3)
    entropy, _ = quad(lambda a: -density(a) * np.log(max(density(a), 1e-300)), -2 + edge, 3 - edge, limit=500)
    found = distribution.evaluate(torch.tensor([[mean]]).double(), torch.zeros(1, 1).double()).entropy
    assert float(found) == pytest.approx(entropy, abs=0.01)
    actions = distribution.to_env(np.array([[-50.0], [0.0], [50.0]]))
    assert actions[:, 0].tolist() == [-2.0, 0.5, 3.0]
    assert all(space.contains(action) for action in actions)


def test_without_its_entropy_a_squashed_normal_has_the_same_log_probabilities_and_gradients():
    _, distribution = squashed([-1, 0, -3], [1, 2, 5])
    means, actions, weights = normal(0, 5, 3), normal(1, 5, 3), normal(2, 5)
    found = []
    for entropy, grad_entropy in ((True, 0.3), (False, 0.3), (True, 0.0), (False, 0.0)):
        distribution.log_std.grad.zero_()
        terms = distribution.evaluate(means, actions, entropy=entropy)
        found.append((terms.log_probs, terms.backward(weights, grad_entropy), distribution.log_std.grad.clone()))
        assert bool(terms.entropy.any()) == entropy
    for first, second in (found[:2], found[2:]):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(found[0][1], found[2][1])


def test_a_squashed_normals_gradients_are_those_of_its_terms():
    _, distribution = squashed([-1, 0, -3], [1, 2, 5])
    means, actions, weights = normal(0, 5, 3), normal(1, 5, 3), normal(2, 5)

    def objective(means, log_std):
        distribution.log_std.data = log_std
        terms = distribution.evaluate(means, actions)
        return float((weights * terms.log_probs).sum() + 0.3 * terms.entropy.sum())

    log_std = distribution.log_std.data.clone()
    found = distribution.evaluate(means, actions).backward(weights, 0.3)
    step, numeric = 1e-6, torch.zeros_like(means)
    for i in range(5):
        for j in range(3):
            shifted = means.clone()
            shifted[i, j] += step
            numeric[i, j] = (objective(shifted, log_std) - objective(means, log_std)) / step
    torch.testing.assert_close(found, numeric, rtol=1e-3, atol=1e-4)
    for j in range(3):
        shifted = log_std.clone()
        shifted[j] += step
        slope = (objective(means, shifted) - objective(means, log_std)) / step
        assert float(distribution.log_std.grad[j]) == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (box([-1, -np.inf], [1, 1]), r"elements unbounded below: \[1\], above: \[\]"),
        (box([0, 1], [1, 1]), r"with one value: \[1\]"),
    ],
)
def test_squashing_needs_bounds(space, message):
    with pytest.raises(ValueError, match=message):
        make_distribution(space, squash=True)
    assert make_distribution(space, squash=False)
