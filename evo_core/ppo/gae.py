"""Generalized advantage estimation."""

import torch
from torch import Tensor

from evo_core.numerics.roots import sqrt


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Estimate advantages (Schulman et al. 2016, eq. 16), all tensors [T, B].

    δ[t] = r[t] + γ V(s[t+1]) (1 − terminated[t]) − V(s[t]);  A[t] = δ[t] + γλ (1 − ended[t]) A[t+1].
    `next_values[t]` is V(s[t+1]) of the same episode: at a truncated step the value of the observation that the
    episode ended with, at the last row the value of the observation after it. At a terminated step it is ignored.
    """
    assert rewards.shape == values.shape == next_values.shape == terminated.shape == truncated.shape
    assert rewards.ndim == 2
    deltas = rewards + gamma * next_values * ~terminated - values
    decay = gamma * gae_lambda * ~(terminated | truncated)
    advantages = torch.empty_like(deltas)
    following = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        following = torch.addcmul(deltas[t], decay[t], following, out=advantages[t])
    return advantages


def normalize(advantages: Tensor) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1; a single or constant value becomes 0, never NaN."""
    centered = advantages - advantages.mean()
    return centered / (sqrt(centered.square().mean()) + 1e-8)
