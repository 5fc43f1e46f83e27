"""Distributions over continuous actions: normals whose samples are clipped or squashed to the bounds."""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from evo_core.networks.distributions.distribution import ActionTerms, Array, Distribution
from evo_core.networks.stack import Axis, AxisTable

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
QUADRATURE = 32
"""Nodes of the Gauss-Hermite rule that integrates the entropy of a squashed normal."""


class DiagonalGaussian(Distribution):
    """Independent normals whose means are the outputs and whose log standard deviations are free parameters.

    Actions are float32, [N, A], unbounded; the environment gets them clipped to its space.
    """

    action_dtype = np.float32

    def __init__(self, space: Space[Any], std_init: float) -> None:
        super().__init__()
        assert isinstance(space, spaces.Box)
        self.outputs = spaces.flatdim(space)
        self.action_shape = (self.outputs,)
        self.space = space
        self.std_init = std_init
        self.log_std = nn.Parameter(torch.empty(self.outputs))

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        return {"log_std": (Axis("action", self.outputs),)}

    def initialize(self, generator: torch.Generator) -> None:
        """Set the standard deviations to their initial value."""
        nn.init.constant_(self.log_std, math.log(self.std_init))

    def noise(self, rng: np.random.Generator, count: int, envs: int) -> Array:
        """Draw standard normal noise, [count, envs, A]."""
        return rng.standard_normal((count, envs, self.outputs), dtype=np.float32)

    def noise_from(self, generator: torch.Generator, count: int, envs: int) -> Tensor:
        """Draw standard normal noise on a device, [count, envs, A]."""
        return torch.randn((count, envs, self.outputs), generator=generator, device=generator.device)

    def sample(self, means: Tensor, noise: Tensor) -> Tensor:
        """Draw actions μ + σε, [N, A]."""
        return torch.addcmul(means, self.log_std.exp(), noise)

    def mode(self, means: Tensor) -> Tensor:
        """Return the means, [N, A]."""
        return means

    def evaluate(self, means: Tensor, actions: Tensor, *, entropy: bool = True) -> ActionTerms:
        """Compute log π(a|s) and the entropy, summed over the action's dimensions.

        The gradient of the standard deviations goes straight to `log_std.grad`.
        """
        log_std = self.log_std.detach()
        inverse = (-log_std).exp()
        z = (actions - means) * inverse
        log_probs = (-0.5 * z.square() - log_std - LOG_SQRT_2PI).sum(-1)
        entropies = (log_std + 0.5 + LOG_SQRT_2PI).sum().expand(len(means))

        def backward(grad_log_probs: Tensor, grad_entropy: float) -> Tensor:
            # ∂log π/∂μ = z/σ;  ∂log π/∂log σ = z² − 1;  ∂H/∂log σ = 1, for each of the N rows
            weighted = grad_log_probs.unsqueeze(-1) * z
            assert self.log_std.grad is not None
            self.log_std.grad.add_((weighted * z).sum(0) - grad_log_probs.sum() + grad_entropy * len(means))
            return weighted * inverse

        return ActionTerms(log_probs, entropies, backward)

    def to_env(self, actions: Array) -> Array:
        """Shape and clip actions to the space."""
        shaped = actions.reshape(-1, *self.space.shape)
        clipped: Array = np.clip(shaped, self.space.low, self.space.high).astype(self.space.dtype, copy=False)
        return clipped

    def to_space(self, actions: Tensor) -> Tensor:
        """Shape and clip actions to the space."""
        return self._clipped(actions.reshape(-1, *self.space.shape))

    def _clipped(self, shaped: Tensor) -> Tensor:
        low, high = torch.as_tensor(self.space.low), torch.as_tensor(self.space.high)
        return torch.clamp(shaped.to(low.dtype), low, high)


class SquashedGaussian(DiagonalGaussian):
    """Normals u whose tanh, scaled to the bounds of the space, is the action (Haarnoja et al. 2018, appendix C).

    Actions are stored as u, so that no inverse is needed: log π(a|s) = log N(u) − Σ log(½ (high − low) (1 − tanh² u)).
    The mode is that of u: the same range in training and evaluation.
    """

    def __init__(self, space: Space[Any], std_init: float) -> None:
        super().__init__(space, std_init)
        self.reach = (self.space.high.astype(np.float64) - self.space.low) / 2
        self.center = self.space.low + self.reach
        self.log_scale = float(np.log(self.reach).sum())
        nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
        self.register_buffer("nodes", torch.from_numpy(nodes).float(), persistent=False)
        self.register_buffer("node_weights", torch.from_numpy(weights / weights.sum()).float(), persistent=False)

    def evaluate(self, means: Tensor, actions: Tensor, *, entropy: bool = True) -> ActionTerms:
        """Compute log π(a|s) and the entropy H(N) + E[Σ log(1 − tanh² u)] + Σ log ½(high − low).

        The expectation has no closed form; per dimension it is one integral over a normal, by quadrature. It is left
        out where neither the entropy nor its gradient is asked for.
        """
        normal = super().evaluate(means, actions)
        std = self.log_std.detach().exp()
        nodes, weights = self.get_buffer("nodes"), self.get_buffer("node_weights")
        log_probs = normal.log_probs - _log_slope(actions).sum(-1) - self.log_scale

        def points() -> Tensor:
            return means.unsqueeze(-1) + std.unsqueeze(-1) * nodes  # [N, A, nodes]

        entropies = torch.zeros_like(log_probs)
        if entropy:
            entropies = normal.entropy + (_log_slope(points()) @ weights).sum(-1) + self.log_scale

        def backward(grad_log_probs: Tensor, grad_entropy: float) -> Tensor:
            # d log(1 − tanh² u)/du = −2 tanh u, at u = μ + σx: by μ once, by log σ times σx
            grad_means = normal.backward(grad_log_probs, grad_entropy)
            if not grad_entropy:
                return grad_means
            slopes = -2 * points().tanh()
            assert self.log_std.grad is not None
            self.log_std.grad.add_(grad_entropy * std * (slopes @ (weights * nodes)).sum(0))
            return grad_means.add_(slopes @ weights, alpha=grad_entropy)

        return ActionTerms(log_probs, entropies, backward)

    def to_env(self, actions: Array) -> Array:
        """Squash actions into the space."""
        shaped = np.tanh(actions.reshape(-1, *self.space.shape).astype(np.float64)) * self.reach + self.center
        inside: Array = np.clip(shaped.astype(self.space.dtype), self.space.low, self.space.high)
        return inside

    def to_space(self, actions: Tensor) -> Tensor:
        """Squash actions into the space."""
        shaped = actions.reshape(-1, *self.space.shape).to(torch.float64)
        return self._clipped(shaped.tanh() * torch.as_tensor(self.reach) + torch.as_tensor(self.center))


def _log_slope(u: Tensor) -> Tensor:
    """log(1 − tanh² u), exact for large u: 2 (log 2 − u − softplus(−2u))."""
    return 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
