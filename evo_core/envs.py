"""Gymnasium environments: checked before a run, then stepped in vectors with one autoreset behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from evo_core.config import RunConfig
from evo_core.failures import MemberFailure
from evo_core.loading import ConfigError, did_you_mean
from evo_core.networks.actor_critic import Spaces
from evo_core.networks.distributions import distribution_for
from evo_core.networks.encoders import encoder_for
from evo_core.sections import EnvConfig

Observations = np.ndarray


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """What the rest of the program must know of an environment. `time_limit` is None when it has none."""

    spaces: Spaces
    time_limit: int | None


@dataclass(slots=True)
class VectorEnvs:
    """Environments stepped together, and where they stand.

    A finished environment is reset within the step that ended it (SAME_STEP autoreset), so every row is a real
    transition and the last observation of an episode is in `final_obs`. `observations`: [B, ...];
    `returns`: [B], the return of each running episode; `steps`: environment steps so far.
    """

    vector: SyncVectorEnv
    observations: Observations
    returns: np.ndarray
    steps: int = 0

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; return rewards, terminated, truncated, each [B], and the info dictionary.

        Raises MemberFailure when an environment raises, or returns what is not finite.
        """
        try:
            observations, rewards, terminated, truncated, info = self.vector.step(actions)
        except Exception as error:
            raise MemberFailure("environment_error", self.steps, f"{type(error).__name__}: {error}") from error
        self.steps += len(rewards)
        self.observations = observations
        require_finite(observations, self.steps)
        if not np.isfinite(rewards).all():
            raise MemberFailure("nan_reward", self.steps, f"rewards {rewards.tolist()}")
        return rewards, terminated, truncated, info

    def close(self) -> None:
        """Close every environment."""
        self.vector.close()


def make_vect_envs(env: EnvConfig, seeds: Sequence[int]) -> VectorEnvs:
    """Make one environment per seed and reset them."""
    vector = SyncVectorEnv([lambda: make_env(env)] * len(seeds), copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        observations, _ = vector.reset(seed=list(seeds))
    except Exception as error:
        vector.close()
        raise MemberFailure("environment_error", 0, f"reset raised {type(error).__name__}: {error}") from error
    require_finite(observations, 0)
    return VectorEnvs(vector, observations, np.zeros(len(seeds)))


def make_env(env: EnvConfig) -> gym.Env[Any, Any]:
    """Make one environment."""
    kwargs: dict[str, Any] = dict(env.kwargs)
    return gym.make(env.id, disable_env_checker=True, **kwargs)


def require_finite(observations: Observations, step: int) -> None:
    """Raise MemberFailure unless every observation is finite."""
    if observations.dtype.kind == "f" and not np.isfinite(observations).all():
        raise MemberFailure("nan_observation", step, f"observations {observations.tolist()}")


def inspect_environment(config: RunConfig) -> EnvSpec:
    """Make the environment once and read its spaces; ConfigError says what does not fit."""
    _require_registered(config.env.id)
    try:
        env = make_env(config.env)
    except (gym.error.Error, TypeError, ImportError) as error:
        raise ConfigError([f"env.id {config.env.id!r} with env.kwargs {config.env.kwargs}: {error}"]) from error
    try:
        spec = EnvSpec(
            Spaces(env.observation_space, env.action_space), env.spec.max_episode_steps if env.spec else None
        )
    finally:
        env.close()
    try:
        encoder_for(spec.spaces.observation)
        distribution_for(spec.spaces.action)
    except ValueError as error:
        raise ConfigError([f"env.id {config.env.id!r}: {error}"]) from None
    if spec.time_limit is None and config.evaluation.max_steps is None:
        raise ConfigError(
            [f"evaluation.max_steps: {config.env.id} has no time limit of its own; set the longest episode to evaluate"]
        )
    return spec


def notices(config: RunConfig, spec: EnvSpec) -> list[str]:
    """Name what will run but is probably not what was meant."""
    per_env = config.training.evo_steps // config.env.num_envs
    if spec.time_limit is not None and per_env < spec.time_limit:
        return [
            f"each environment makes {per_env} steps per generation (training.evo_steps / env.num_envs), fewer than "
            f"the time limit of {spec.time_limit}: the ends of long episodes are never seen in training"
        ]
    return []


def _require_registered(env_id: str) -> None:
    if ":" in env_id:
        raise ConfigError(
            [f"env.id {env_id!r}: expected the id of a registered environment; modules are not imported by name"]
        )
    try:
        gym.spec(env_id)
    except gym.error.DeprecatedEnv as error:
        raise ConfigError([f"env.id {env_id!r}: {error}"]) from None
    except gym.error.Error:
        raise ConfigError([f"env.id {env_id!r}: not registered; {did_you_mean(env_id, gym.registry)}"]) from None
