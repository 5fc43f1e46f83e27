"""Packages that simulate an environment; their versions are part of the recorded numerics."""

from collections.abc import Iterable, Iterator

import gymnasium as gym

from evo_core.config.sections import EnvConfig
from evo_core.plugins.installed import distribution

ENGINES = {"gymnasium.envs.box2d": "Box2D", "gymnasium.envs.mujoco": "mujoco"}
"""Modules of Gymnasium's families of environments that other packages simulate, and what those are imported as."""


def package_versions(env: EnvConfig, functions: Iterable[str] = ()) -> str:
    """Return the packages of an environment, its wrappers and functions with their versions: `box2d 2.3.10, mine 0.1`.

    `functions` are named package.module:function.
    Nothing is imported. Modules that belong to no installed package are left out; so is Gymnasium itself.
    """
    modules = [*_modules(env), *(name.partition(":")[0].partition(".")[0] for name in functions)]
    found = {distribution(module) for module in modules}
    return ", ".join(sorted(name for name in found if name and not name.startswith("gymnasium ")))


def _modules(env: EnvConfig) -> Iterator[str]:
    """Return the top-level modules of an environment and its wrappers."""
    module, _, name = env.id.rpartition(":")
    spec = gym.registry.get(name)
    entry = spec.entry_point if spec is not None and isinstance(spec.entry_point, str) else ""
    family = ".".join(entry.partition(":")[0].split(".")[:3])
    yield from (part.partition(".")[0] for part in (module, ENGINES.get(family, entry.partition(":")[0])) if part)
    for wrapper in env.wrappers:
        for named in [wrapper] if isinstance(wrapper, str) else wrapper:
            if ":" in named:
                yield named.partition(":")[0].partition(".")[0]
    if env.vectorization == "envpool":
        yield "envpool"
