"""Rollout collection. Only actions are sampled here; values and log-probabilities follow in one batch for learning."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from evo_core.agent.agent import Agent
from evo_core.envs.vector_env import VectorEnvs
from evo_core.networks.distributions.distribution import masked
from evo_core.records.failures import MemberFailure
from evo_core.spaces.observations import Arrays


@dataclass(slots=True)
class Rollout:
    """T steps of B environments. Time is defined once: row t is the transition that action[t] made from observation[t].

    observations: per leaf [T, B, ...]; actions: [T, B] or [T, B, A]; masks: of the actions, [T, B, outputs] or None;
    rewards, terminated, truncated: [T, B]; valid: [T, B], false for rows that are no transitions (a reset that took
    a step of its own); memories: [T, B, M], before each row; last_observations, last_memory: after the last row;
    final_observations, final_memories: per truncated (t, b) in `final_index` the observation that the episode ended
    with, and the memory before it; episode_returns, episode_lengths: of the episodes that ended, in order.
    """

    observations: Arrays
    actions: np.ndarray
    masks: np.ndarray | None
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    memories: Tensor
    last_observations: Arrays
    last_memory: Tensor
    final_index: list[tuple[int, int]] = field(default_factory=list)
    final_observations: list[Arrays] = field(default_factory=list)
    final_memories: list[Tensor] = field(default_factory=list)
    episode_returns: list[float] = field(default_factory=list)
    episode_lengths: list[int] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Environment steps, T × B."""
        return int(self.rewards.size)


def collect_rollouts(agent: Agent, envs: VectorEnvs, length: int, rng: np.random.Generator) -> Rollout:
    """Act for `length` steps in every environment, from its current state.

    Raises MemberFailure when an environment raises or returns invalid values.
    """
    network, count = agent.network, envs.count
    distribution, recurrent = network.distribution, network.memory_size > 0
    noise = agent.noise(rng, length, count).unbind()
    memory = agent.no_memory(count) if envs.memory is None else envs.memory
    rollout = _allocate(agent, envs, length)
    with torch.inference_mode():
        for t in range(length):
            masks = _record(rollout, envs, t)
            if recurrent:
                rollout.memories[t] = memory
            outputs, memory = network.policy(agent.observe(envs.observations), memory)
            outputs = masked(outputs, None if masks is None else agent.move(masks))
            actions = distribution.sample(outputs, noise[t]).cpu().numpy()
            require_finite_actions(actions, envs.steps)
            rollout.actions[t] = actions
            made = envs.step(distribution.to_env(actions))
            rollout.rewards[t], rollout.terminated[t], rollout.truncated[t], rollout.valid[t] = made[:4]
            for b, observation in made.final_observations.items():
                _end_episode(rollout, envs, t, b, observation, memory)
            if recurrent:
                going = made.valid & ~(made.terminated | made.truncated)
                memory = memory * agent.move(going).unsqueeze(1)
    for name, rows in envs.observations.items():
        rollout.last_observations[name][:] = rows
    rollout.last_memory = envs.memory = memory
    return rollout


def rollout_lengths(steps_per_env: int, learn_step_per_env: float) -> list[int]:
    """Cut a generation's steps per environment into rollouts whose lengths differ by at most one."""
    count = min(max(1, round(steps_per_env / learn_step_per_env)), steps_per_env)
    short, longer = divmod(steps_per_env, count)
    return [short + 1] * longer + [short] * (count - longer)


def require_finite_actions(actions: np.ndarray, step: int) -> None:
    """Raise MemberFailure when a network's outputs are no longer finite, before an environment gets such an action.

    Discrete actions hide it; `learn`, which computes the loss from the same outputs, finds it there.
    """
    if actions.dtype.kind == "f" and not np.isfinite(actions).all():
        raise MemberFailure("nan_loss", step, f"actions {actions.tolist()}")


def _record(rollout: Rollout, envs: VectorEnvs, t: int) -> np.ndarray | None:
    """Copy the environments' observations, which they may overwrite; return the action masks."""
    for name, rows in envs.observations.items():
        rollout.observations[name][t] = rows
    if envs.masks is None:
        return None
    if rollout.masks is None:
        rollout.masks = np.ones((len(rollout.rewards), *envs.masks.shape), np.bool_)
    rollout.masks[t] = envs.masks
    return envs.masks


def _end_episode(rollout: Rollout, envs: VectorEnvs, t: int, b: int, observation: Arrays, memory: Tensor) -> None:
    rollout.episode_returns.append(float(envs.ended_returns[b]))
    rollout.episode_lengths.append(int(envs.ended_lengths[b]))
    if rollout.truncated[t, b] and not rollout.terminated[t, b]:
        rollout.final_index.append((t, b))
        rollout.final_observations.append(observation)
        rollout.final_memories.append(memory[b])


def _allocate(agent: Agent, envs: VectorEnvs, length: int) -> Rollout:
    count, distribution, layout = envs.count, agent.network.distribution, agent.network.layout
    batch = (length, count)
    return Rollout(
        observations=layout.empty(*batch),
        actions=np.empty((*batch, *distribution.action_shape), distribution.action_dtype),
        masks=None,
        rewards=np.empty(batch, np.float32),
        terminated=np.empty(batch, np.bool_),
        truncated=np.empty(batch, np.bool_),
        valid=np.empty(batch, np.bool_),
        memories=torch.empty((*batch, agent.network.memory_size), device=agent.device),
        last_observations=layout.empty(count),
        last_memory=agent.no_memory(count),
    )
