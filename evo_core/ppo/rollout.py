"""Collecting rollouts. Only the policy acts; values and log-probabilities follow in one batch when learning starts."""

from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium.spaces import Box

from evo_core.agent import Agent
from evo_core.envs import VectorEnvs
from evo_core.failures import MemberFailure


@dataclass(slots=True)
class Rollout:
    """T steps of B environments. Time is defined once: row t is the transition that action[t] made from observation[t].

    observations: [T, B, ...]; actions: [T, B] or [T, B, A]; rewards, terminated, truncated: [T, B];
    last_observations: [B, ...], after the last row; final_observations: per truncated (t, b) in `final_index` the
    observation that the episode ended with; episode_returns: of the episodes that ended, in order.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    last_observations: np.ndarray
    final_index: list[tuple[int, int]] = field(default_factory=list)
    final_observations: list[np.ndarray] = field(default_factory=list)
    episode_returns: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Environment steps, T × B."""
        return int(self.rewards.size)


def collect_rollouts(agent: Agent, envs: VectorEnvs, length: int, rng: np.random.Generator) -> Rollout:
    """Act for `length` steps in every environment, from where they stand.

    Raises MemberFailure when an environment raises, or returns what is not finite.
    """
    rollout = _allocate(agent, envs, length)
    distribution = agent.network.distribution
    noise = torch.from_numpy(distribution.noise(rng, length, len(envs.returns))).to(agent.device)
    with torch.inference_mode():
        for t in range(length):
            rollout.observations[t] = envs.observations
            outputs = agent.network.policy(agent.observe(rollout.observations[t]))
            actions = distribution.sample(outputs, noise[t]).cpu().numpy()
            require_finite_actions(actions, envs.steps)
            rollout.actions[t] = actions
            made = envs.step(distribution.to_env(actions))
            rollout.rewards[t], rollout.terminated[t], rollout.truncated[t] = made[:3]
            envs.returns += made.rewards
            for b, observation in made.final_observations.items():
                _end_episode(rollout, envs, t, b, observation)
    rollout.last_observations[:] = envs.observations
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


def _end_episode(rollout: Rollout, envs: VectorEnvs, t: int, b: int, observation: np.ndarray) -> None:
    rollout.episode_returns.append(float(envs.returns[b]))
    envs.returns[b] = 0.0
    if rollout.truncated[t, b] and not rollout.terminated[t, b]:
        rollout.final_index.append((t, b))
        rollout.final_observations.append(observation)


def _allocate(agent: Agent, envs: VectorEnvs, length: int) -> Rollout:
    batch = (length, len(envs.returns))
    shape, dtype = envs.observations.shape[1:], envs.observations.dtype
    continuous = isinstance(envs.spaces.action, Box)
    action_shape = (*batch, agent.network.distribution.outputs) if continuous else batch
    return Rollout(
        observations=np.empty((*batch, *shape), dtype),
        actions=np.empty(action_shape, np.float32 if continuous else np.int64),
        rewards=np.empty(batch, np.float32),
        terminated=np.empty(batch, np.bool_),
        truncated=np.empty(batch, np.bool_),
        last_observations=np.empty((batch[1], *shape), dtype),
    )
