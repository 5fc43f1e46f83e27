"""Detection of wrappers that carry state from one episode to the next, such as NormalizeReward.

Such a wrapper changes the scale of rewards while a member trains, and loses its state at the end of every generation.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from evo_core.config.parsing import ConfigError
from evo_core.config.sections import EnvConfig
from evo_core.envs.determinism import RandomActions
from evo_core.envs.patience import run_with_timeout
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.records.failures import MemberFailure
from evo_core.spaces.observations import take

STEPS = 64
SEED = 1
PATIENCE_S = 30.0
"""Time limit of the episodes; slower environments are not checked."""

_STATELESS = (gym.wrappers.TimeLimit, gym.wrappers.OrderEnforcing, gym.wrappers.PassiveEnvChecker)
_STATISTICS = {
    gym.wrappers.NormalizeReward: "algorithm.normalize_returns",
    gym.wrappers.NormalizeObservation: "algorithm.normalize_observations",
}

Values = dict[str, Any]


def require_stateless(env: EnvConfig) -> None:
    """Raise ConfigError when a wrapper carries state from one episode to the next.

    Two episodes of one instance with the same seed and actions are compared. Only wrappers are checked: an environment
    that itself differs, or draws from a generator that no seed reaches, passes here.
    """
    if env.vectorization not in ("auto", "sync", "async"):  # have no wrappers
        return
    try:
        problem = run_with_timeout(PATIENCE_S, lambda: _find_problem(env))
    except (MemberFailure, TimeoutError):  # members and `evolve doctor` report failures and hangs
        return
    if problem is not None:
        place = f"env.wrappers {env.wrappers}" if env.wrappers else f"env.id {env.id!r}, wrapped where it is registered"
        raise ConfigError([f"{place}: {problem}"])


def _find_problem(env: EnvConfig) -> str | None:
    envs = SyncEnvs(env, [SEED])
    try:
        wrappers = list(_wrappers(envs.envs[0]))
        for wrapper in wrappers:
            for kind, remedy in _STATISTICS.items():
                if isinstance(wrapper, kind):
                    return (
                        f"{kind.__name__} keeps statistics from episode to episode: fitness would be in units that "
                        f"change, and every generation would start without them; remove it and set {remedy}: true"
                    )
        if all(isinstance(wrapper, _STATELESS) for wrapper in wrappers):
            return None
        try:
            tap = _Tap(envs.envs[0].unwrapped)
        except (AttributeError, TypeError):  # a class with slots: wrappers cannot be checked separately
            return None
        first, second = list(_play(envs, tap)), list(_play(envs, tap))
    finally:
        envs.close()
    difference = _difference(first, second)
    if difference is None or _outer(first) != _outer(
        _play_afresh(env)
    ):  # else it is not deterministic: another finding
        return None
    return (
        f"a wrapper carries state from episode to episode: with the same seed and actions, {difference}, while the "
        "environment inside it returned the same; reset the wrapper's state in `reset`. If it normalizes, remove it "
        "and set algorithm.normalize_observations or algorithm.normalize_returns: true"
    )


def _wrappers(env: gym.Env[Any, Any]) -> Iterator[gym.Wrapper[Any, Any, Any, Any]]:
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


class _Tap:
    """Wrapper that records the actions and observations of the innermost environment."""

    def __init__(self, base: gym.Env[Any, Any]) -> None:
        self.seen: list[tuple[Any, Any]] = []
        self._step, self._reset = base.step, base.reset
        base.step, base.reset = self.step, self.reset  # type: ignore[method-assign]

    def step(self, action: Any) -> Any:
        given = _plain(action)
        returned: Any = self._step(action)
        self.seen.append((given, _plain(returned[:4])))
        return returned

    def reset(self, **options: Any) -> Any:
        returned: Any = self._reset(**options)
        self.seen.append((_plain(options), _plain(returned[0])))
        return returned

    def take(self) -> list[tuple[Any, Any]]:
        """Return what was recorded since the last call."""
        seen, self.seen = self.seen, []
        return seen


def _play(envs: SyncEnvs, tap: _Tap | None) -> Iterator[tuple[list[tuple[Any, Any]], Values]]:
    """Play random actions from a seeded reset; yield what the innermost environment and what the outermost showed."""
    envs.reset([SEED])
    actions = RandomActions(envs)
    yield tap.take() if tap else [], take(envs.observations, slice(None))
    for _ in range(STEPS):
        made = envs.step(actions.draw())
        shown = {f"final {name}": rows for final in made.final_observations.values() for name, rows in final.items()}
        flags = {"reward": made.rewards, "terminated": made.terminated, "truncated": made.truncated}
        yield tap.take() if tap else [], take(envs.observations, slice(None)) | shown | flags


def _play_afresh(env: EnvConfig) -> list[tuple[list[tuple[Any, Any]], Values]]:
    envs = SyncEnvs(env, [SEED])
    try:
        return list(_play(envs, None))
    finally:
        envs.close()


def _outer(played: Iterable[tuple[Any, Values]]) -> list[Any]:
    return [_plain(outer) for _, outer in played]


def _difference(first: list[tuple[Any, Values]], second: list[tuple[Any, Values]]) -> str | None:
    """Return where two episodes first differ because of wrappers; None if the environment itself differs earlier."""
    for step, ((inner, outer), (inner2, outer2)) in enumerate(zip(first, second, strict=True)):
        for (given, returned), (given2, returned2) in zip(inner, inner2, strict=False):
            if given != given2:
                return f"step {step}: the action that reaches the environment differs"
            if returned != returned2:
                return None
        for name in outer.keys() | outer2.keys():
            one, other = outer.get(name), outer2.get(name)
            if _plain(one) != _plain(other):
                return f"step {step}: {name} is {_shown(one)} the first time and {_shown(other)} the second time"
    return None


def _shown(value: Any) -> str:
    return "absent" if value is None else " ".join(repr(value.tolist()).split())[:80]


def _plain(value: Any) -> Any:
    """Copy a nested value into one that can be compared."""
    if isinstance(value, Mapping):
        return tuple((key, _plain(item)) for key, item in value.items())
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)
