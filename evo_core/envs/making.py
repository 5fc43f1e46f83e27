"""Construct one environment from its configuration: id, keyword arguments and wrappers."""

import inspect
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib import import_module
from typing import Any

import gymnasium as gym

from evo_core.config.parsing import ConfigError, did_you_mean
from evo_core.config.sections import EnvConfig
from evo_core.envs import wrappers as own_wrappers
from evo_core.plugins.loading import PluginError, import_module_of, not_allowed

Wrap = Callable[..., gym.Env[Any, Any]]

log = logging.getLogger(__name__)

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def make_env(env: EnvConfig) -> gym.Env[Any, Any]:
    """Create one environment with its wrappers; exceptions that they raise propagate."""
    kwargs: dict[str, Any] = dict(env.kwargs)
    made: gym.Env[Any, Any] = gym.make(env.id, disable_env_checker=True, **kwargs)
    try:
        for name, arguments in wrapper_list(env):
            made = _wrapper(name)(made, **arguments)
    except BaseException:
        close_env(made)
        raise
    return made


def close_env(env: gym.Env[Any, Any]) -> None:
    """Close an environment. Exceptions are logged, so that the remaining environments are closed too."""
    try:
        env.close()
    except Exception as error:
        log.warning("%s: close raised %s: %s", type(env.unwrapped).__name__, type(error).__name__, error)


def wrapper_list(env: EnvConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every wrapper with its arguments, innermost first."""
    for wrapper in env.wrappers:
        if isinstance(wrapper, str):
            yield wrapper, {}
        else:
            yield from ((name, dict(arguments)) for name, arguments in wrapper.items())


def require_known(env: EnvConfig, packages: Collection[str]) -> None:
    """Reject unregistered environments and wrappers before importing any of their modules.

    A name package.module:Name is taken only if `packages` holds the package, or the module. Raises ConfigError.
    """
    import_named([("env.id", env.id), *(("env.wrappers", name) for name, _ in wrapper_list(env))], packages)
    _require_registered(env.id)
    for name, _ in wrapper_list(env):
        try:
            _wrapper(name)
        except (AttributeError, ImportError, gym.error.Error) as error:  # Gymnasium imports some on request
            raise ConfigError([f"env.wrappers: {error}"]) from None


def import_named(named: Iterable[tuple[str, str]], packages: Collection[str]) -> None:
    """Import the modules of the names package.module:Name among these, given as pairs of field and name.

    ConfigError lists all that are not of `packages` before any module is imported.
    """
    pairs = [(field, name) for field, name in named if ":" in name]
    problems = [problem for field, name in pairs if (problem := _not_allowed(field, name, packages))]
    if problems:
        raise ConfigError(problems)
    for field, name in pairs:
        _import(field, name)


def _not_allowed(field: str, name: str, packages: Collection[str]) -> str | None:
    module, _, rest = name.partition(":")
    if not _MODULE.fullmatch(module) or ":" in rest:
        return f"{field} {name!r}: expected a name, or package.module:Name"
    reason = not_allowed(name, packages)
    return f"{field} {name!r}: {reason}" if reason else None


def append_module_path(directories: Iterable[str]) -> None:
    """Append directories to this process's module search path, so that they shadow nothing."""
    sys.path += [directory for directory in directories if directory not in sys.path]


def _import(field: str, name: str) -> None:
    try:
        import_module_of(name)
    except PluginError as error:
        raise ConfigError([f"{field} {name!r}: {error}"]) from error


_IMPORTERS = ("GymV21Environment-v0", "GymV26Environment-v0")
"""Gymnasium's own ids that make another environment, imported by the name in their keyword arguments."""


def _require_registered(name: str) -> None:
    module, colon, env_id = name.rpartition(":")
    prefix = module + colon
    if env_id in _IMPORTERS:
        raise ConfigError([f"env.id {env_id!r}: creates environments of old versions by name; register them instead"])
    try:
        gym.spec(env_id)
    except gym.error.DeprecatedEnv as error:
        advice = re.sub(r"`([\w./-]+-v\d+)`", rf"`{prefix}\1`", str(error))
        raise ConfigError([f"env.id {name!r}: {advice}"]) from None
    except gym.error.Error:
        known = _registered_by(module.partition(".")[0]) or gym.registry
        raise ConfigError([f"env.id {name!r}: not registered; {did_you_mean(env_id, known, prefix)}"]) from None


def _registered_by(package: str) -> list[str]:
    """List the ids whose environments a package holds."""
    places = {
        known: spec.entry_point if isinstance(spec.entry_point, str) else getattr(spec.entry_point, "__module__", "")
        for known, spec in gym.registry.items()
    }
    return [known for known, place in places.items() if package and re.split("[.:]", place or "")[0] == package]


def _wrapper(name: str) -> Wrap:
    """Return a wrapper class: ours, Gymnasium's, or one of a module that was allowed before."""
    module, _, attribute = name.rpartition(":")
    places = [import_module(module)] if module else [own_wrappers, gym.wrappers]
    for place in places:
        found = getattr(place, attribute, None)
        if inspect.isclass(found) and issubclass(found, gym.Wrapper):
            return found
    prefix = f"{module}:" if module else ""
    known = {n for place in places for n, c in vars(place).items() if inspect.isclass(c) and issubclass(c, gym.Wrapper)}
    raise AttributeError(f"no wrapper {name!r}; {did_you_mean(attribute, known, prefix)}")
