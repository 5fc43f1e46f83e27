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
from evo_core.ppo.loss import Minibatch, ppo_loss
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
    epochs, stop, terms = 0, False, torch.empty(0)
    while not stop:
        epochs += 1
        last = epochs == algorithm.update_epochs
        report = last or algorithm.target_kl is not None
        batches = minibatches(data, algorithm.batch_size, rng)
        updates = [_update(agent, batch, algorithm, report=report) for batch in batches]
        terms = torch.stack(updates).mean(0)
        stop = last or (algorithm.target_kl is not None and float(terms[3]) > algorithm.target_kl)
    values = terms.tolist()
    if not all(map(math.isfinite, values)):
        raise MemberFailure("nan_loss", step, f"policy, value, entropy, KL, clip fraction, norm: {values}")
    policy, value, entropy, kl, clip_fraction, norm = values
    return LearnStats(policy, value, entropy, kl, clip_fraction, norm, explained, epochs)


@torch.no_grad()
def prepare(agent: Agent, rollout: Rollout, algorithm: AlgorithmConfig) -> Minibatch:
    """Compute old log-probabilities, values, advantages and returns of a rollout; all flattened to [T·B]."""
    network, shape = agent.network, rollout.rewards.shape
    observations = agent.observe(rollout.observations).flatten(0, 1)
    actions = agent.observe(rollout.actions).flatten(0, 1)
    outputs, flat_values = network(observations)
    log_probs = network.distribution.evaluate(outputs, actions).log_probs
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


def _update(agent: Agent, batch: Minibatch, algorithm: AlgorithmConfig, *, report: bool) -> Tensor:
    """Descend one step; return the loss's terms (when they are reported) and the gradient's norm."""
    agent.gradients.zero_()
    outputs, values = agent.network(batch.observations)
    with torch.no_grad():
        actions = agent.network.distribution.evaluate(outputs.detach(), batch.actions)
        loss = ppo_loss(actions.log_probs, actions.entropy, values.detach(), batch, algorithm, report=report)
        by_outputs = actions.backward(loss.grad_log_probs, loss.grad_entropy)
    torch.autograd.backward((outputs, values), (by_outputs, loss.grad_values))
    norm = agent.descend(algorithm.lr, algorithm.max_grad_norm)
    return torch.stack([*loss.terms, norm])


def _explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 − Var[R − V] / Var[R]; 0 when the returns do not vary."""
    variance = float(returns.var(correction=0))
    return 1.0 - float((returns - values).var(correction=0)) / variance if variance > 0 else 0.0
