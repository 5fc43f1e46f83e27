"""Vector environments that plugins make."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gymnasium.vector import VectorEnv
from pydantic import JsonValue

from evo_core.config.parsing import ConfigError
from evo_core.config.sections import EnvConfig
from evo_core.envs.gym_vector import GymVectorEnvs
from evo_core.envs.making import close_env, make_env
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import VECTOR_BACKEND
from evo_core.plugins.loading import load
from evo_core.records.failures import MemberFailure, creation_failure
from evo_core.spaces.spaces import Spaces

TRIED = 2
"""Environments that are made before a run, to see that it works."""


class VectorBackendPlugin(Protocol):
    """A vector backend of a plugin, created without arguments."""

    def make(self, env_id: str, seeds: Sequence[int], kwargs: Mapping[str, JsonValue]) -> VectorEnv[Any, Any, Any]:
        """Make one environment per seed, which are then reset by `reset(seed=list(seeds))`.

        `kwargs` are `env.kwargs`. Observations and actions are those of the registered environment, batched. Its
        metadata say how finished environments are reset: `{"autoreset_mode": AutoresetMode.SAME_STEP}`, or NEXT_STEP.
        """
        ...


class PluginEnvs(GymVectorEnvs):
    """A plugin's vector environment, with the spaces of the registered one."""

    def __init__(self, env: EnvConfig, seeds: Sequence[int]) -> None:
        plugin: VectorBackendPlugin = load(VECTOR_BACKEND, env.vectorization)
        try:
            single = make_env(env)
            spaces = Spaces(single.observation_space, single.action_space)
            close_env(single)
            vector: Any = plugin.make(env.id, list(seeds), dict(env.kwargs))
        except (Exception, SystemExit) as error:  # plugins raise any exception
            raise creation_failure(env.id, error) from error
        count = getattr(vector, "num_envs", None)
        if count != len(seeds):
            said = f"{env.id}: expected {len(seeds)} environments from {env.vectorization}, got {count}"
            raise MemberFailure("environment_error", 0, said)
        super().__init__(env, spaces, vector, list(seeds))


def require_working(env: EnvConfig) -> None:
    """Make and reset a few environments of a plugin; ConfigError says what is wrong."""
    try:
        PluginEnvs(env, range(TRIED)).close()
    except MemberFailure as failure:
        package = package_of(VECTOR_BACKEND, env.vectorization) or "of no installed package"
        raise ConfigError([f"env.vectorization {env.vectorization} ({package}): {failure}"]) from failure
