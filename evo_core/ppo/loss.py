"""PPO's loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from evo_core.sections import AlgorithmConfig


@dataclass(frozen=True, slots=True)
class Minibatch:
    """N transitions: observations [N, ...], actions [N] or [N, A], the rest [N]."""

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss to descend, and the terms to report, as scalars on the device."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor


def ppo_loss(log_probs: Tensor, entropy: Tensor, values: Tensor, batch: Minibatch, algorithm: AlgorithmConfig) -> Loss:
    """Compute PPO's clipped surrogate, value and entropy loss (Schulman et al. 2017, eqs. 7 and 9); inputs [N].

    approx_kl is the estimator (r − 1) − log r (Schulman 2020, "Approximating KL divergence").
    """
    assert log_probs.shape == entropy.shape == values.shape == batch.advantages.shape
    clip = algorithm.clip_coef
    log_ratio = log_probs - batch.log_probs
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * batch.advantages, ratio.clamp(1 - clip, 1 + clip) * batch.advantages).mean()
    value_loss = 0.5 * _value_error(values, batch, clip if algorithm.clip_value else None).mean()
    mean_entropy = entropy.mean()
    total = algorithm.vf_coef * value_loss - surrogate - algorithm.ent_coef * mean_entropy
    with torch.no_grad():
        off = ratio.detach() - 1
        approx_kl = (off - log_ratio.detach()).mean()
        clip_fraction = (off.abs() > clip).float().mean()
    return Loss(total, -surrogate, value_loss, mean_entropy, approx_kl, clip_fraction)


def _value_error(values: Tensor, batch: Minibatch, clip: float | None) -> Tensor:
    error = (values - batch.returns).square()
    if clip is None:
        return error
    near = batch.values + (values - batch.values).clamp(-clip, clip)
    return torch.maximum(error, (near - batch.returns).square())
