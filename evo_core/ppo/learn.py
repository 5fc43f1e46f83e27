"""Learning from one rollout: advantages, then epochs of minibatches."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evo_core.agent.agent import Agent
from evo_core.config.sections import AlgorithmConfig
from evo_core.networks.distributions.distribution import masked
from evo_core.networks.inputs import Tensors, select_rows
from evo_core.networks.recurrence import sequences
from evo_core.ppo.gae import generalized_advantages, normalize
from evo_core.ppo.learning_rate import adapted
from evo_core.ppo.loss import ppo_loss
from evo_core.ppo.rollout import Rollout
from evo_core.ppo.sequences import Minibatch, Pieces, cut, minibatches
from evo_core.records.failures import MemberFailure
from evo_core.spaces.observations import concatenate, flatten_time

STEPS_PER_BATCH = 4096
"""Number of steps whose old log-probabilities and values are computed in one batch."""


@dataclass(frozen=True, slots=True)
class LearnStats:
    """Statistics of an update; losses are means over its last epoch, and `lr` is the learning rate there."""

    policy_loss: float
    value_loss: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    grad_norm: float
    explained_variance: float
    epochs: int
    lr: float


def learn(
    agent: Agent, rollout: Rollout, algorithm: AlgorithmConfig, rng: np.random.Generator, step: int = 0
) -> LearnStats:
    """Improve the agent in place by PPO on one rollout.

    Every valid step of the rollout is trained on exactly once per epoch, in minibatches of equal size (to within one
    step, or one piece of an episode for a recurrent agent) and at most `batch_size`. Advantages are normalized over
    the rollout. With `lr_schedule: kl` the agent's learning rate is adapted after each epoch.

    Raises MemberFailure, with `step` as its step, when a loss or a gradient stops being finite.
    """
    rewards = agent.normalizer.before_learning(rollout, algorithm.gamma)
    data, pieces, memories = prepare(agent, rollout, algorithm, rewards)
    explained = _explained_variance(data.values, data.returns)
    epochs, stop, terms, shuffler = 0, False, torch.empty(0), agent.shuffler(rng)
    follows, lr = algorithm.lr_schedule == "kl", algorithm.lr
    agent.lr = (agent.lr or lr) if follows else None
    while not stop:
        epochs += 1
        lr = agent.lr or lr
        last = epochs == algorithm.update_epochs
        report = last or follows or algorithm.target_kl is not None
        batches = minibatches(data, pieces, memories, algorithm.batch_size, shuffler)
        updates = [_update(agent, batch, algorithm, lr, report=report) for batch in batches]
        if report:
            terms = torch.stack(updates).mean(0)
        if follows:
            agent.lr = adapted(lr, float(terms[3]), algorithm.desired_kl)
        stop = last or (algorithm.target_kl is not None and float(terms[3]) > algorithm.target_kl)
    values = terms.tolist()
    if not all(map(math.isfinite, values)):
        raise MemberFailure("nan_loss", step, f"policy, value, entropy, KL, clip fraction, norm: {values}")
    agent.normalizer.after_learning(rollout)
    policy, value, entropy, kl, clip_fraction, norm = values
    return LearnStats(policy, value, entropy, kl, clip_fraction, norm, explained, epochs, lr)


@torch.no_grad()
def prepare(
    agent: Agent, rollout: Rollout, algorithm: AlgorithmConfig, rewards: np.ndarray | None = None
) -> tuple[Minibatch, Pieces, Tensor]:
    """Compute old log-probabilities, values, advantages and returns of a rollout's valid steps, in order of pieces.

    Returns them with the pieces of episodes that they form, and the memory [pieces, M] before each. `rewards` [T, B]
    take the place of the rollout's own.
    """
    network, shape = agent.network, rollout.rewards.shape
    pieces = cut(rollout.terminated, rollout.truncated, rollout.valid, network.max_seq_len)
    rows = agent.move(pieces.rows)
    memories = rollout.memories.flatten(0, 1).index_select(0, rows[agent.move(pieces.starts)])
    observations = select_rows(agent.observe(flatten_time(rollout.observations)), rows)
    actions = agent.move(rollout.actions).flatten(0, 1).index_select(0, rows)
    masks = None if rollout.masks is None else agent.move(rollout.masks).flatten(0, 1).index_select(0, rows)
    log_probs, values = _old_log_probs_and_values(agent, observations, actions, masks, pieces, memories)
    by_time = torch.zeros(rollout.steps, device=agent.device).index_copy(0, rows, values).view(shape)
    advantages = generalized_advantages(
        agent.move(rollout.rewards if rewards is None else rewards),
        by_time,
        _next_values(agent, rollout, by_time),
        agent.move(rollout.terminated),
        agent.move(rollout.truncated),
        algorithm.gamma,
        algorithm.gae_lambda,
    )
    advantages = advantages.flatten().index_select(0, rows)
    data = Minibatch(observations, actions, log_probs, normalize(advantages), advantages + values, values, masks)
    return data, pieces, memories


def _old_log_probs_and_values(
    agent: Agent, observations: Tensors, actions: Tensor, masks: Tensor | None, pieces: Pieces, memories: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute log-probabilities and values, both [N], in batches, so that images fit into memory."""
    network, found = agent.network, []
    per_part = max(1, STEPS_PER_BATCH // int(pieces.lengths.max()))
    ends = np.cumsum(pieces.lengths)
    for first in range(0, len(ends), per_part):
        last = min(first + per_part, len(ends))
        steps = slice(int(pieces.starts[first]), int(ends[last - 1]))
        whole = sequences(pieces.lengths[first:last], memories[first:last]) if network.memory_size else None
        outputs, values = network({name: leaf[steps] for name, leaf in observations.items()}, whole)
        allowed = masked(outputs, None if masks is None else masks[steps])
        found.append((network.distribution.evaluate(allowed, actions[steps], entropy=False).log_probs, values))
    log_probs, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    return log_probs, values


def _next_values(agent: Agent, rollout: Rollout, values: Tensor) -> Tensor:
    """Compute V of the observation after each row, [T, B]: of its own final observation where it was truncated."""
    value = agent.network.value
    last = value(agent.observe(rollout.last_observations), rollout.last_memory)
    next_values = torch.cat([values[1:], last.unsqueeze(0)])
    if rollout.final_index:
        rows, columns = torch.tensor(rollout.final_index, device=agent.device).T
        finals = agent.observe(concatenate(rollout.final_observations))
        next_values[rows, columns] = value(finals, torch.stack(rollout.final_memories))
    return next_values


@torch.no_grad()
def _update(agent: Agent, batch: Minibatch, algorithm: AlgorithmConfig, lr: float, *, report: bool) -> Tensor:
    """Descend one step; return the gradient's norm, and before it the loss's terms if they are reported."""
    agent.gradients.zero_()
    outputs, values, backward = agent.network.vjp(batch.observations, batch.sequences)
    actions = agent.network.distribution.evaluate(masked(outputs, batch.masks), batch.actions, entropy=report)
    loss = ppo_loss(actions.log_probs, actions.entropy, values, batch, algorithm, report=report)
    backward(actions.backward(loss.grad_log_probs, loss.grad_entropy), loss.grad_values)
    norm = agent.descend(lr, algorithm.max_grad_norm)
    return torch.stack([*loss.terms, norm]) if report else norm


def _explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 − Var[R − V] / Var[R]; 0 when the returns do not vary."""
    variance = float(returns.var(correction=0))
    return 1.0 - float((returns - values).var(correction=0)) / variance if variance > 0 else 0.0
