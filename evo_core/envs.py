"""Gymnasium environments: checked before a run, then stepped in vectors with one autoreset behaviour."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Discrete

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


class Transition(NamedTuple):
    """What one step of B environments gave: rewards, terminated, truncated, each [B].

    `final_observations` maps every environment that ended its episode to the observation it ended with.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observations: dict[int, Any]


@dataclass(slots=True)
class VectorEnvs:
    """Environments stepped together, and where they stand.

    A finished environment is reset within the step that ended it (SAME_STEP autoreset), so every row is a real
    transition. Stepped here and not by Gymnasium's SyncVectorEnv, whose merging of info dictionaries costs a tenth of
    the training time. `observations`: [B, ...]; `returns`: [B], the return of each running episode; `steps`:
    environment steps so far.
    """

    envs: list[gym.Env[Any, Any]]
    observations: Observations
    returns: np.ndarray
    steps: int = 0

    @property
    def spaces(self) -> Spaces:
        """What one environment observes and accepts."""
        return Spaces(self.envs[0].observation_space, self.envs[0].action_space)

    def step(self, actions: Iterable[Any]) -> Transition:
        """Step every environment.

        Raises MemberFailure when an environment raises, or returns what is not finite.
        """
        count = len(self.envs)
        result = Transition(np.zeros(count), np.zeros(count, np.bool_), np.zeros(count, np.bool_), {})
        try:
            for b, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
                observation, result.rewards[b], terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    result.terminated[b], result.truncated[b] = terminated, truncated
                    result.final_observations[b] = observation
                    observation, _ = env.reset()
                self.observations[b] = observation
        except Exception as error:
            raise MemberFailure("environment_error", self.steps, f"{type(error).__name__}: {error}") from error
        self.steps += count
        require_finite(self.observations, self.steps)
        if not np.isfinite(result.rewards).all():
            raise MemberFailure("nan_reward", self.steps, f"rewards {result.rewards.tolist()}")
        return result

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()


def make_vect_envs(env: EnvConfig, seeds: Sequence[int]) -> VectorEnvs:
    """Make one environment per seed and reset them."""
    made = [make_env(env) for _ in seeds]
    space = made[0].observation_space
    observations = np.empty((len(made), *(space.shape or ())), storage_dtype(space))
    envs = VectorEnvs(made, observations, np.zeros(len(made)))
    try:
        for b, seed in enumerate(seeds):
            observations[b], _ = made[b].reset(seed=seed)
    except Exception as error:
        envs.close()
        raise MemberFailure("environment_error", 0, f"reset raised {type(error).__name__}: {error}") from error
    require_finite(observations, 0)
    return envs


def storage_dtype(space: Space[Any]) -> np.dtype[Any]:
    """Choose how observations are stored: discrete ones as int64, vectors as float32."""
    return np.dtype(np.int64 if isinstance(space, Discrete) else np.float32)


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
