"""PPO's loss, and its gradient in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from evo_core.config.sections import AlgorithmConfig
from evo_core.ppo.sequences import Minibatch


@dataclass(frozen=True, slots=True)
class Loss:
    """Gradients of the loss, by log-probabilities [N], by each entropy (one number) and by values [N]; and its terms.

    `terms` are scalars to report: policy loss, value loss, entropy, approximate KL divergence, clip fraction.
    """

    grad_log_probs: Tensor
    grad_entropy: float
    grad_values: Tensor
    terms: tuple[Tensor, ...]


def ppo_loss(
    log_probs: Tensor,
    entropy: Tensor,
    values: Tensor,
    batch: Minibatch,
    algorithm: AlgorithmConfig,
    *,
    report: bool = True,
) -> Loss:
    """Compute PPO's clipped surrogate, value and entropy loss (Schulman et al. 2017, eqs. 7 and 9); inputs [N].

    loss = −mean(min(rA, clip(r, 1 ± ε)A)) + vf_coef · ½ mean((V − R)²) − ent_coef · mean(H). Where the minimum is the
    clipped term, log-probabilities have no gradient; elsewhere it is −rA/N. Without `report` the terms are left out.
    """
    assert log_probs.shape == entropy.shape == values.shape == batch.advantages.shape
    count, clip = len(values), algorithm.clip_coef
    log_ratio = log_probs - batch.log_probs
    ratio = log_ratio.exp()
    free = ratio * batch.advantages
    clipped = ratio.clamp(1 - clip, 1 + clip) * batch.advantages
    gradient, error = _value_error(values, batch, clip if algorithm.clip_value else None)
    terms: tuple[Tensor, ...] = ()
    if report:
        surrogate = torch.minimum(free, clipped).mean()
        off = ratio - 1
        kl, fraction = (off - log_ratio).mean(), (off.abs() > clip).float().mean()
        terms = (-surrogate, 0.5 * error.square().mean(), entropy.mean(), kl, fraction)
    return Loss(
        grad_log_probs=free.masked_fill_(free > clipped, 0.0).mul_(-1 / count),
        grad_entropy=-algorithm.ent_coef / count,
        grad_values=gradient * (algorithm.vf_coef / count),
        terms=terms,
    )


def _value_error(values: Tensor, batch: Minibatch, clip: float | None) -> tuple[Tensor, Tensor]:
    """Compute ∂(½e²)/∂V and e per sample; with a clip range, of the larger of the clipped and the free error."""
    error = values - batch.returns
    if clip is None:
        return error, error
    moved = values - batch.values
    near = batch.values + moved.clamp(-clip, clip) - batch.returns
    free, inside = error.abs() >= near.abs(), moved.abs() <= clip
    return torch.where(free, error, near * inside), torch.where(free, error, near)
