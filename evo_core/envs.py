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
                    # a copy, because environments may reuse their buffer in reset
                    result.final_observations[b] = np.array(observation, self.observations.dtype)
                    observation, _ = env.reset()
                self.observations[b] = observation
        except (Exception, SystemExit) as error:
            raise environment_error(error, self.steps) from error
        self.steps += count
        self._check(result)
        return result

    def _check(self, result: Transition) -> None:
        require_sound(self.observations, self.spaces.observation, self.steps)
        for observation in result.final_observations.values():
            require_sound(observation, self.spaces.observation, self.steps)
        if not np.isfinite(result.rewards).all():
            raise MemberFailure("nan_reward", self.steps, f"rewards {result.rewards.tolist()}")

    def close(self) -> None:
        """Close every environment."""
        close_all(self.envs)


def make_vect_envs(env: EnvConfig, seeds: Sequence[int]) -> VectorEnvs:
    """Make one environment per seed and reset them; MemberFailure when one raises or returns what is not finite."""
    made: list[gym.Env[Any, Any]] = []
    try:
        first = []
        for seed in seeds:
            made.append(make_env(env))
            first.append(made[-1].reset(seed=seed)[0])
        observations = np.array(first, storage_dtype(made[0].observation_space))
        require_sound(observations, made[0].observation_space, 0)
    except MemberFailure:
        close_all(made)
        raise
    except (Exception, SystemExit) as error:
        close_all(made)
        raise environment_error(error, 0) from error
    return VectorEnvs(made, observations, np.zeros(len(made)))


def environment_error(error: BaseException, step: int) -> MemberFailure:
    """Name what an environment raised."""
    return MemberFailure("environment_error", step, f"{type(error).__name__}: {error}")


def close_all(envs: Sequence[gym.Env[Any, Any]]) -> None:
    """Close every environment."""
    for env in envs:
        env.close()


def storage_dtype(space: Space[Any]) -> np.dtype[Any]:
    """Choose how observations are stored: discrete ones as int64, vectors as float32."""
    return np.dtype(np.int64 if isinstance(space, Discrete) else np.float32)


def make_env(env: EnvConfig) -> gym.Env[Any, Any]:
    """Make one environment."""
    kwargs: dict[str, Any] = dict(env.kwargs)
    return gym.make(env.id, disable_env_checker=True, **kwargs)


def require_sound(observations: Observations, space: Space[Any], step: int) -> None:
    """Raise MemberFailure unless observations are finite and, where they are discrete, in their space."""
    if isinstance(space, Discrete):
        if not ((observations >= space.start) & (observations < space.start + space.n)).all():
            raise MemberFailure("environment_error", step, f"observations {observations.tolist()} outside {space}")
    elif not np.isfinite(observations).all():
        raise MemberFailure("nan_observation", step, f"observations {observations.tolist()}")


def inspect_environment(config: RunConfig) -> EnvSpec:
    """Make the environment once and read its spaces; ConfigError says what does not fit."""
    _require_registered(config.env.id)
    try:
        env = make_env(config.env)
    except (Exception, SystemExit) as error:  # whatever the constructor makes of its arguments
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError([f"env.id {config.env.id!r} with env.kwargs {config.env.kwargs}: {reason}"]) from error
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
