"""Measures of an episode: its return, its length, success, a number of its info, or a function of its record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from evo_core.config.objectives import Objective, Reduction
from evo_core.config.parsing import did_you_mean
from evo_core.config.run_config import RunConfig
from evo_core.plugins.kinds import FITNESS
from evo_core.plugins.loading import load

SUCCESS_KEYS = ("success", "is_success")
"""Keys by which environments report success in the info of an episode's last step."""


FREE = ("return", "length")
"""Measures that are known without a record of the steps."""


REDUCTIONS: dict[str, Callable[[np.ndarray], Any]] = {"sum": np.sum, "mean": np.mean, "max": np.max}


class MeasureError(ValueError):
    """Raised when an episode cannot be measured; the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Episode:
    """The record of an episode.

    `rewards`: [length], as the environment paid them; `total`: their sum, the return; `length`: environment steps;
    `terminated`: whether the environment ended it, and not a time limit or `evaluation.max_steps`; `info`: that of the
    last step; `discounted_return`: Σ γ^t r_t with `algorithm.gamma`, which is the same for all members; `numbers`:
    for every key that the configuration measures as `info:KEY`, its values in the steps that have it.
    """

    rewards: np.ndarray
    total: float
    length: int
    terminated: bool
    info: Mapping[str, Any]
    discounted_return: float
    numbers: Mapping[str, np.ndarray]


Measure = Callable[[Episode], Any]
"""Function of an episode's record to what the episode is worth, a number."""


def find_measure(objective: Objective) -> Measure:
    """Return the function that an objective names. Its module must have been allowed and imported before.

    Raises MeasureError when the module has no such function, PluginError for a plugin that cannot be used.
    """
    if objective.plugin is not None:
        found: Measure = load(FITNESS, objective.plugin)
        return found
    if objective.key is not None:
        return partial(_number_of_info, objective.key, objective.reduction)
    return find_function(objective.function) if objective.function else MEASURES[objective.measure]


def find_function(name: str) -> Measure:
    """Return the function package.module:function."""
    module, _, attribute = name.partition(":")
    place = import_module(module)
    found = getattr(place, attribute, None)
    if not callable(found):
        known = [key for key, value in vars(place).items() if callable(value) and not key.startswith("_")]
        raise MeasureError(
            f"{name}: {module} has no function {attribute}; {did_you_mean(attribute, known, module + ':')}"
        )
    return found  # type: ignore[no-any-return]


def measure(objective: Objective, function: Measure, episode: Episode) -> float:
    """Measure an episode; MeasureError when that raises, or gives no finite number."""
    try:
        return _number(function(episode), objective.measure)
    except MeasureError:
        raise
    except Exception as error:  # functions of users raise any exception
        raise MeasureError(f"{objective.measure}: {type(error).__name__}: {error}") from error


def _success(episode: Episode) -> Any:
    for key in SUCCESS_KEYS:
        if key in episode.info:
            return episode.info[key]
    raise MeasureError(
        f"success: expected {' or '.join(SUCCESS_KEYS)} in the info of an episode's last step, got {_keys(episode)}; "
        "report it there, or measure another key as info:KEY"
    )


def _number_of_info(key: str, reduction: Reduction, episode: Episode) -> Any:
    if reduction == "last":
        if key not in episode.info:
            raise MeasureError(
                f"info:{key}: expected {key} in the info of an episode's last step, got {_keys(episode)}; report it "
                "there, or take the sum, mean or max over the steps that have it (reduction)"
            )
        return episode.info[key]
    found = episode.numbers[key]
    if not len(found):
        raise MeasureError(
            f"info:{key}: expected {key} in the info of some step; at the end there was {_keys(episode)}"
        )
    return REDUCTIONS[reduction](found)


MEASURES: dict[str, Measure] = {
    "return": lambda episode: episode.total,
    "length": lambda episode: episode.length,
    "success": _success,
}
"""Measures by name; those of the info and functions have names of their own."""


def _keys(episode: Episode) -> str:
    return f"the keys {', '.join(map(str, episode.info))}" if episode.info else "an empty one"


def _number(value: Any, what: str) -> float:
    """Read a number: of any kind, a truth value, or an array of one element."""
    try:
        found = np.asarray(value)
    except Exception:  # ragged lists, tensors on a device, and other failed conversions
        found = np.empty(0, np.object_)
    if found.size != 1 or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        shown = " ".join(repr(value).split())[:100]
        raise MeasureError(f"{what}: expected a finite number, got {shown} ({type(value).__name__})")
    return float(found.reshape(())[()])


class EpisodeRecorder:
    """Records what episodes played side by side show, as far as objectives need it.

    An instance is called with the values of every step of every environment (`SyncEnvs.on_values`).
    """

    def __init__(self, count: int, gamma: float, keys: frozenset[str]) -> None:
        self._gamma, self._keys = gamma, tuple(sorted(keys))
        self._rewards: list[list[float]] = [[] for _ in range(count)]
        self._terminated = [False] * count
        self._infos: list[Mapping[str, Any]] = [{}] * count
        self._numbers: list[dict[str, list[float]]] = [{key: [] for key in self._keys} for _ in range(count)]

    def __call__(self, index: int, reward: float, terminated: bool, info: Mapping[str, Any]) -> None:
        """Record a step of an environment."""
        self._rewards[index].append(reward)
        self._terminated[index], self._infos[index] = terminated, info
        for key in self._keys:
            if key in info:
                self._numbers[index][key].append(_number(info[key], f"info:{key}"))

    def episode(self, index: int, total: float) -> Episode:
        """Return an environment's episode so far; `total` is its return."""
        rewards = np.array(self._rewards[index], np.float64)
        return Episode(
            rewards=rewards,
            total=total,
            length=len(rewards),
            terminated=bool(self._terminated[index]),
            info=self._infos[index],
            discounted_return=float(rewards @ self._gamma ** np.arange(len(rewards))),
            numbers={key: np.array(found) for key, found in self._numbers[index].items()},
        )


def recorder_for(config: RunConfig, count: int) -> EpisodeRecorder | None:
    """Return a recorder for `count` episodes; None where returns and lengths say what they are worth."""
    measured = [one for one in config.evaluation.episode_objectives if one.measure not in FREE]
    if not measured:
        return None
    keys = frozenset(one.key for one in measured if one.key is not None and one.reduction != "last")
    return EpisodeRecorder(count, config.algorithm.gamma, keys)


def measure_episodes(
    objectives: Sequence[Objective], recorder: EpisodeRecorder | None, returns: np.ndarray, lengths: np.ndarray
) -> list[np.ndarray]:
    """Measure episodes by each objective: [episodes] each. Raises MeasureError."""
    return [_measure_by(objective, recorder, returns, lengths) for objective in objectives]


def _measure_by(
    objective: Objective, recorder: EpisodeRecorder | None, returns: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    if objective.measure in FREE or recorder is None:
        return returns if objective.measure == "return" else lengths.astype(np.float64)
    function = find_measure(objective)
    episodes = [recorder.episode(index, float(total)) for index, total in enumerate(returns)]
    return np.array([measure(objective, function, episode) for episode in episodes])
