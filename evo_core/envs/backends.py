"""Selection of the vector environment backend by name."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import gymnasium as gym

from evo_core.config.parsing import ConfigError
from evo_core.config.sections import EnvConfig
from evo_core.envs.gym_vector import AsyncEnvs, EnvpoolEnvs, NativeEnvs
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.envs.vector_env import VectorEnvs
from evo_core.envs.vector_plugins import PluginEnvs

VECTORS: dict[str, Callable[[EnvConfig, Sequence[int]], VectorEnvs]] = {
    "auto": SyncEnvs,  # independent of installed packages, so that results do not depend on them
    "sync": SyncEnvs,
    "async": AsyncEnvs,
    "native": NativeEnvs,
    "envpool": EnvpoolEnvs,
}


def make_vect_envs(env: EnvConfig, seeds: Sequence[int]) -> VectorEnvs:
    """Create and reset one environment per seed; raise MemberFailure if one raises or returns invalid values.

    `native` draws all of them from one generator, which the first seed seeds.
    """
    return VECTORS.get(env.vectorization, PluginEnvs)(env, seeds)


def require_available(env: EnvConfig) -> None:
    """Raise ConfigError unless the configured way of stepping exists for the environment."""
    name, problem = env.vectorization, None
    if name in ("auto", "sync", "async"):
        return
    if env.wrappers:
        problem = "env.wrappers work on single environments, which it has none of; use sync or async"
    elif name == "native" and gym.spec(env.id.rpartition(":")[2]).vector_entry_point is None:
        known = sorted(spec.id for spec in gym.registry.values() if spec.vector_entry_point is not None)
        problem = f"{env.id} has no vector version of its own; use sync, or one of {', '.join(known)}"
    elif name == "envpool" and find_spec("envpool") is None:
        problem = "envpool is not installed here; pip install 'evolve-rl[envpool]'"
    elif name == "envpool":
        import envpool

        if env.id not in envpool.list_all_envs():
            problem = f"envpool does not have {env.id}; use sync"
    if problem:
        raise ConfigError([f"env.vectorization {name}: {problem}"])
