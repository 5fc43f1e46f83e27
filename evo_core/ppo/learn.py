"""Learning from one rollout: advantages, then epochs of minibatches."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from evo_core.agent import Agent
from evo_core.failures import MemberFailure
from evo_core.ppo.gae import generalized_advantages, normalize
from evo_core.ppo.loss import Loss, Minibatch, ppo_loss
from evo_core.ppo.rollout import Rollout
from evo_core.sections import AlgorithmConfig


@dataclass(frozen=True, slots=True)
class LearnStats:
    """What an update did; losses are means over its last epoch."""

    policy_loss: float
    value_loss: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    grad_norm: float
    explained_variance: float
    epochs: int


def learn(
    agent: Agent, rollout: Rollout, algorithm: AlgorithmConfig, rng: np.random.Generator, step: int = 0
) -> LearnStats:
    """Improve the agent in place by PPO on one rollout.

    Every step of the rollout is trained on exactly once per epoch, in minibatches of equal size (to within one) and
    at most `batch_size`. Advantages are normalised over the rollout. Raises MemberFailure, with `step` as its step,
    when a loss or a gradient stops being finite.
    """
    data = prepare(agent, rollout, algorithm)
    explained = _explained_variance(data.values, data.returns)
    agent.optimizer.param_groups[0]["lr"] = algorithm.lr
    epoch_terms: Tensor = torch.empty(0)
    epochs = 0
    while epochs < algorithm.update_epochs:
        epochs += 1
        epoch_terms = torch.stack(
            [_update(agent, minibatch, algorithm) for minibatch in minibatches(data, algorithm.batch_size, rng)]
        ).mean(0)
        if algorithm.target_kl is not None and float(epoch_terms[3]) > algorithm.target_kl:
            break
    terms = epoch_terms.tolist()
    if not all(map(math.isfinite, terms)):
        raise MemberFailure("nan_loss", step, f"policy, value, entropy, KL, clip fraction, norm: {terms}")
    policy, value, entropy, kl, clipped, norm = terms
    return LearnStats(policy, value, entropy, kl, clipped, norm, explained_variance=explained, epochs=epochs)


@torch.no_grad()
def prepare(agent: Agent, rollout: Rollout, algorithm: AlgorithmConfig) -> Minibatch:
    """Compute old log-probabilities, values, advantages and returns of a rollout; all flattened to [T·B]."""
    network, shape = agent.network, rollout.rewards.shape
    observations = agent.observe(rollout.observations).flatten(0, 1)
    actions = agent.observe(rollout.actions).flatten(0, 1)
    outputs, flat_values = network(observations)
    log_probs, _ = network.distribution.log_prob_and_entropy(outputs, actions)
    values = flat_values.view(shape)
    next_values = torch.cat([values[1:], network.value(agent.observe(rollout.last_observations)).unsqueeze(0)])
    if rollout.final_index:
        rows, columns = torch.tensor(rollout.final_index, device=agent.device).T
        next_values[rows, columns] = network.value(agent.observe(np.stack(rollout.final_observations)))
    advantages = generalized_advantages(
        agent.observe(rollout.rewards),
        values,
        next_values,
        agent.observe(rollout.terminated),
        agent.observe(rollout.truncated),
        algorithm.gamma,
        algorithm.gae_lambda,
    ).flatten()
    return Minibatch(observations, actions, log_probs, normalize(advantages), advantages + flat_values, flat_values)


def minibatches(data: Minibatch, batch_size: int, rng: np.random.Generator) -> Iterator[Minibatch]:
    """Shuffle, and cut into the fewest minibatches of at most `batch_size`, equal to within one."""
    count = len(data.returns)
    order = torch.from_numpy(rng.permutation(count)).to(data.returns.device)
    shuffled = [getattr(data, field.name).index_select(0, order) for field in fields(data)]
    parts = math.ceil(count / batch_size)
    yield from map(Minibatch, *(tensor.tensor_split(parts) for tensor in shuffled))


def _update(agent: Agent, batch: Minibatch, algorithm: AlgorithmConfig) -> Tensor:
    """Descend one step; return the loss's terms and the gradient's norm, [6]."""
    outputs, values = agent.network(batch.observations)
    log_probs, entropy = agent.network.distribution.log_prob_and_entropy(outputs, batch.actions)
    loss = ppo_loss(log_probs, entropy, values, batch, algorithm)
    agent.gradients.zero_()
    torch.autograd.backward(loss.total)
    norm = torch.linalg.vector_norm(agent.gradients)
    agent.gradients.mul_((algorithm.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
    agent.optimizer.step()
    return torch.stack([*_terms(loss), norm])


def _terms(loss: Loss) -> list[Tensor]:
    terms = (loss.policy, loss.value, loss.entropy, loss.approx_kl, loss.clip_fraction)
    return [term.detach() for term in terms]


def _explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 − Var[R − V] / Var[R]; 0 when the returns do not vary."""
    variance = float(returns.var(correction=0))
    return 1.0 - float((returns - values).var(correction=0)) / variance if variance > 0 else 0.0
