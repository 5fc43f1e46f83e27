"""Distributions over discrete actions: a single choice, or several independent ones."""

from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from evo_core.networks.distributions.distribution import FORBIDDEN, ActionTerms, Array, Distribution, torch_dtype


class Categorical(Distribution):
    """A distribution over n actions from n logits. Actions are int64, [N]."""

    masks = True

    def __init__(self, space: Space[Any], std_init: float) -> None:
        super().__init__()
        assert isinstance(space, spaces.Discrete)
        self.outputs = int(space.n)
        self.start = int(space.start)
        self.space_dtype = np.dtype(space.dtype)

    def noise(self, rng: np.random.Generator, count: int, envs: int) -> Array:
        """Draw standard Gumbel noise, [count, envs, n]."""
        return rng.gumbel(size=(count, envs, self.outputs)).astype(np.float32)

    def noise_from(self, generator: torch.Generator, count: int, envs: int) -> Tensor:
        """Draw standard Gumbel noise on a device, [count, envs, n]."""
        return gumbel((count, envs, self.outputs), generator)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Draw actions by the Gumbel-max trick, [N]."""
        return (logits + noise).argmax(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """Return the most likely actions, [N]."""
        return logits.argmax(-1)

    def evaluate(self, logits: Tensor, actions: Tensor, *, entropy: bool = True) -> ActionTerms:
        """Compute log π(a|s) = log p_a and the entropy −Σ p log p."""
        log_p, chosen = logits.log_softmax(-1), actions.unsqueeze(-1)
        p = log_p.exp()
        entropies = -torch.linalg.vecdot(p, log_p)

        def backward(grad_log_probs: Tensor, grad_entropy: float) -> Tensor:
            return _backward(p, log_p, entropies, chosen, grad_log_probs, grad_entropy)

        return ActionTerms(log_p.gather(-1, chosen).squeeze(-1), entropies, backward)

    def to_env(self, actions: Array) -> Array:
        """Convert actions [N] to the arguments of each environment's step: NumPy integers, as the space's `sample`
        gives."""
        shifted: Array = (actions + self.start).astype(self.space_dtype, copy=False)
        return shifted

    def to_space(self, actions: Tensor) -> Tensor:
        """Convert actions to those of the environment, [N] int64."""
        return actions + self.start


class MultiCategorical(Distribution):
    """Independent choices: of MultiDiscrete, or yes and no of MultiBinary. Actions are int64, [N, choices].

    Logits are [N, Σ options]; choices with fewer options than the largest are padded with impossible ones.
    """

    masks = True

    def __init__(self, space: Space[Any], std_init: float) -> None:
        super().__init__()
        assert isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary)
        self.space = space
        if isinstance(space, spaces.MultiDiscrete):
            self.options: tuple[int, ...] = tuple(space.nvec.reshape(-1).tolist())
            self.start = np.asarray(space.start)
        else:
            self.options, self.start = (2,) * spaces.flatdim(space), np.zeros(space.shape, np.int64)
        self.outputs = sum(self.options)
        self.action_shape = (len(self.options),)
        self.widest = max(self.options)
        inside = np.arange(self.widest) < np.array(self.options)[:, None]
        place = np.full(inside.shape, self.outputs)
        place[inside] = np.arange(self.outputs)
        # where each option's logit is, the padding's behind the last; and where each logit went
        self.register_buffer("place", torch.from_numpy(place.reshape(-1)), persistent=False)
        self.register_buffer("origin", torch.from_numpy(np.flatnonzero(inside)), persistent=False)

    def noise(self, rng: np.random.Generator, count: int, envs: int) -> Array:
        """Draw standard Gumbel noise, [count, envs, Σ options]."""
        return rng.gumbel(size=(count, envs, self.outputs)).astype(np.float32)

    def noise_from(self, generator: torch.Generator, count: int, envs: int) -> Tensor:
        """Draw standard Gumbel noise on a device, [count, envs, Σ options]."""
        return gumbel((count, envs, self.outputs), generator)

    def sample(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Draw actions by the Gumbel-max trick, [N, choices]."""
        return self._choices(logits + noise).argmax(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """Return the most likely actions, [N, choices]."""
        return self._choices(logits).argmax(-1)

    def evaluate(self, logits: Tensor, actions: Tensor, *, entropy: bool = True) -> ActionTerms:
        """Compute log π(a|s) and the entropy, summed over the choices."""
        log_p, chosen = self._choices(logits).log_softmax(-1), actions.unsqueeze(-1)
        p = log_p.exp()
        entropies = -torch.linalg.vecdot(p, log_p)

        def backward(grad_log_probs: Tensor, grad_entropy: float) -> Tensor:
            grad = grad_log_probs.unsqueeze(-1).expand_as(entropies)
            padded = _backward(p, log_p, entropies, chosen, grad, grad_entropy)
            return padded.flatten(1).index_select(1, self.get_buffer("origin"))

        return ActionTerms(log_p.gather(-1, chosen).squeeze(-1).sum(-1), entropies.sum(-1), backward)

    def to_env(self, actions: Array) -> Array:
        """Shape actions as the space has them."""
        shaped: Array = (actions.reshape(-1, *self.start.shape) + self.start).astype(self.space.dtype)
        return shaped

    def to_space(self, actions: Tensor) -> Tensor:
        """Shape actions as the space has them."""
        shaped = actions.reshape(-1, *self.start.shape) + torch.as_tensor(self.start)
        return shaped.to(torch_dtype(self.space))

    def _choices(self, logits: Tensor) -> Tensor:
        """Reshape logits to [N, choices, options], padded with impossible options."""
        padded = nn.functional.pad(logits, (0, 1), value=FORBIDDEN)
        return padded.index_select(1, self.get_buffer("place")).view(-1, len(self.options), self.widest)


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw standard Gumbel noise on the generator's device: −log E with E from Exp(1)."""
    waits = torch.empty(shape, device=generator.device).exponential_(generator=generator)
    return waits.clamp_(min=torch.finfo(waits.dtype).tiny).log_().neg_()


def _backward(
    p: Tensor, log_p: Tensor, entropy: Tensor, chosen: Tensor, grad_log_probs: Tensor, grad_entropy: float
) -> Tensor:
    """∂log p_a/∂logit_j = 1[j = a] − p_j;  ∂H/∂logit_j = −p_j (log p_j + H)."""
    shared = torch.add(grad_log_probs.unsqueeze(-1), log_p + entropy.unsqueeze(-1), alpha=grad_entropy)
    return (-p * shared).scatter_add_(-1, chosen, grad_log_probs.unsqueeze(-1))
