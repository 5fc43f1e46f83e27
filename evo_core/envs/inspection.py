"""Inspection of an environment before a run: it exists, its spaces are supported, and the network fits.

Imports no torch, so that an environment is refused quickly.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from evo_core.config.parsing import ConfigError
from evo_core.config.plugin_fields import require_plugins
from evo_core.config.run_config import RunConfig
from evo_core.envs.backends import require_available
from evo_core.envs.making import close_env, import_named, make_env, require_known
from evo_core.envs.vector_env import MASK, ignore_warnings
from evo_core.envs.vector_plugins import require_working
from evo_core.envs.wrapper_state import require_stateless
from evo_core.genome.genome import initial_genome
from evo_core.plugins.kinds import ENCODER, VECTOR_BACKEND
from evo_core.plugins.loading import PluginError
from evo_core.spaces.actions import require_supported
from evo_core.spaces.spaces import Spaces


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """The properties of an environment that the program needs. `time_limit` is None when it has none.

    `unread_masks`: it offers `action_masks()`, which is not called, and no mask in its info.
    """

    spaces: Spaces
    time_limit: int | None
    unread_masks: bool = False


def inspect_environment(config: RunConfig, packages: Collection[str] = (), *, plugins: bool = True) -> EnvSpec:
    """Create the environment once and read its spaces; raise ConfigError if it does not fit the configuration.

    `packages` may be imported when environment, wrappers, fitness or plugins are named as package.module:Name. Without
    `plugins`, those of the configuration need not be installed.
    """
    if plugins:
        require_plugins(config, packages)
    require_known(config.env, packages)
    measured = config.evaluation.named_objectives
    import_named([(where, one.function) for where, one in measured if one.function is not None], packages)
    require_available(config.env)
    try:
        env = make_env(config.env)
    except (Exception, SystemExit) as error:  # constructors raise any exception
        reason = f"{type(error).__name__}: {error}"
        given = f" and env.wrappers {config.env.wrappers}" if config.env.wrappers else ""
        raise ConfigError([f"env.id {config.env.id!r} with env.kwargs {config.env.kwargs}{given}: {reason}"]) from error
    try:
        limit = env.spec.max_episode_steps if env.spec else None
        spec = EnvSpec(Spaces(env.observation_space, env.action_space), limit, _has_unread_masks(env))
    finally:
        close_env(env)
    try:
        initial_genome(config, spec.spaces.observation)
        require_supported(spec.spaces.action, squash=config.network.squash_output)
    except ValueError as error:
        raise ConfigError([f"env.id {config.env.id!r}: {error}"]) from None
    if spec.time_limit is None and config.evaluation.max_steps is None:
        raise ConfigError(
            [f"evaluation.max_steps: {config.env.id} has no time limit of its own; set the longest episode to evaluate"]
        )
    return spec


def _has_unread_masks(env: gym.Env[Any, Any]) -> bool:
    """Return True if an environment offers `action_masks()` as in sb3-contrib, but no mask in its info; resets it."""
    if not env.has_wrapper_attr("action_masks"):
        return False
    with suppress(Exception):  # exceptions of reset are reported when members are trained
        return MASK not in env.reset(seed=0)[1]
    return False


def check_environment(config: RunConfig, packages: Collection[str] = ()) -> EnvSpec:
    """Inspect an environment; reject wrappers that carry state and unsound encoders: called once, before a run starts.

    Imports torch only for the encoder of a plugin.
    """
    with ignore_warnings():
        spec = inspect_environment(config, packages)
        require_stateless(config.env)
        if config.env.vectorization not in VECTOR_BACKEND.own:
            require_working(config.env)
    if config.network.encoder.kind not in ENCODER.own:
        from evo_core.networks.encoders.plugin_checks import require_sound_encoder

        try:
            require_sound_encoder(config, spec.spaces)
        except PluginError as error:
            raise ConfigError([f"network.encoder.kind: {error}"]) from error
    return spec
