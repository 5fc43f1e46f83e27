"""Action distributions: the heads' outputs as a policy, for each supported action space.

Randomness comes in as noise that NumPy drew (`noise`), so that acting is a deterministic function of its arguments
on every device.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from evo_core.networks.stack import Axis, AxisTable

Array = np.ndarray

Backward = Callable[[Tensor, float], Tensor]
"""From gradients by log-probabilities [N] and by every entropy (one number) to gradients by the outputs [N, A]."""


class ActionTerms(NamedTuple):
    """What a loss needs of actions under a policy: log π(a|s) [N], entropies [N], and the way back to the outputs.

    The gradients are closed forms: for networks this small, recording them in autograd costs more than the network.
    """

    log_probs: Tensor
    entropy: Tensor
    backward: Backward


class Categorical(nn.Module):
    """A distribution over n actions from n logits. Actions are int64, [N]."""

    SUPPORTED = "Discrete"

    def __init__(self, space: Space[Any], std_init: float) -> None:
        super().__init__()
        assert isinstance(space, spaces.Discrete)
        self.outputs = int(space.n)
        self.start = int(space.start)

    def noise(self, rng: np.random.Generator, count: int, envs: int) -> Array:
        """Draw standard Gumbel noise, [count, envs, n]."""
        return rng.gumbel(size=(count, envs, self.outputs)).astype(np.float32)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Draw actions by the Gumbel-max trick, [N]."""
        return (logits + noise).argmax(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """Take the most likely actions, [N]."""
        return logits.argmax(-1)

    def evaluate(self, logits: Tensor, actions: Tensor) -> ActionTerms:
        """Compute log π(a|s) = log p_a and the entropy −Σ p log p."""
        log_p, chosen = logits.log_softmax(-1), actions.unsqueeze(-1)
        p = log_p.exp()
        entropy = -torch.linalg.vecdot(p, log_p)

        def backward(grad_log_probs: Tensor, grad_entropy: float) -> Tensor:
            # ∂log p_a/∂logit_j = 1[j = a] − p_j;  ∂H/∂logit_j = −p_j (log p_j + H)
            shared = torch.add(grad_log_probs.unsqueeze(-1), log_p + entropy.unsqueeze(-1), alpha=grad_entropy)
            return (-p * shared).scatter_add_(-1, chosen, grad_log_probs.unsqueeze(-1))

        return ActionTerms(log_p.gather(-1, chosen).squeeze(-1), entropy, backward)

    def to_env(self, actions: Array) -> list[int]:
        """Turn actions [N] into what each environment's step takes: plain integers, which it checks fastest."""
        shifted: list[int] = (actions + self.start).tolist()
        return shifted


class DiagonalGaussian(nn.Module):
    """Independent normals whose means are the outputs and whose log standard deviations are free parameters.

    Actions are float32, [N, A], unbounded; the environment gets them clipped to its space.
    """

    SUPPORTED = "Box of floats"

    def __init__(self, space: Space[Any], std_init: float) -> None:
        super().__init__()
        assert isinstance(space, spaces.Box)
        self.outputs = spaces.flatdim(space)
        self.space = space
        self.std_init = std_init
        self.log_std = nn.Parameter(torch.empty(self.outputs))

    def axes(self) -> AxisTable:
        """Name the axis along each dimension of each parameter."""
        return {"log_std": (Axis("action", self.outputs),)}

    def initialise(self, generator: torch.Generator) -> None:
        """Set the standard deviations to their initial value."""
        nn.init.constant_(self.log_std, math.log(self.std_init))

    def noise(self, rng: np.random.Generator, count: int, envs: int) -> Array:
        """Draw standard normal noise, [count, envs, A]."""
        return rng.standard_normal((count, envs, self.outputs), dtype=np.float32)

    def sample(self, means: Tensor, noise: Tensor) -> Tensor:
        """Draw actions μ + σε, [N, A]."""
        return torch.addcmul(means, self.log_std.exp(), noise)

    def mode(self, means: Tensor) -> Tensor:
        """Take the means, [N, A]."""
        return means

    def evaluate(self, means: Tensor, actions: Tensor) -> ActionTerms:
        """Compute log π(a|s) and the entropy, summed over the action's dimensions.

        The gradient of the standard deviations goes straight to `log_std.grad`.
        """
        log_std = self.log_std.detach()
        inverse = (-log_std).exp()
        z = (actions - means) * inverse
        constant = 0.5 * math.log(2 * math.pi)
        log_probs = (-0.5 * z.square() - log_std - constant).sum(-1)
        entropy = (log_std + 0.5 + constant).sum().expand(len(means))

        def backward(grad_log_probs: Tensor, grad_entropy: float) -> Tensor:
            # ∂log π/∂μ = z/σ;  ∂log π/∂log σ = z² − 1;  ∂H/∂log σ = 1, for each of the N rows
            weighted = grad_log_probs.unsqueeze(-1) * z
            assert self.log_std.grad is not None
            self.log_std.grad.add_((weighted * z).sum(0) - grad_log_probs.sum() + grad_entropy * len(means))
            return weighted * inverse

        return ActionTerms(log_probs, entropy, backward)

    def to_env(self, actions: Array) -> Array:
        """Shape and clip actions to the space."""
        shaped = actions.reshape(-1, *self.space.shape)
        clipped: Array = np.clip(shaped, self.space.low, self.space.high).astype(self.space.dtype, copy=False)
        return clipped


Distribution = Categorical | DiagonalGaussian

DISTRIBUTIONS: dict[type, type[Distribution]] = {spaces.Discrete: Categorical, spaces.Box: DiagonalGaussian}


def distribution_for(space: Space[Any]) -> type[Distribution]:
    """Choose the distribution of an action space; ValueError lists what is supported."""
    for kind, distribution in DISTRIBUTIONS.items():
        if (
            isinstance(space, kind)
            and spaces.flatdim(space) > 0
            and (space.dtype is None or kind is not spaces.Box or space.dtype.kind == "f")
        ):
            return distribution
    supported = ", ".join(item.SUPPORTED for item in DISTRIBUTIONS.values())
    raise ValueError(f"action space {space} is not supported; supported: {supported}")
