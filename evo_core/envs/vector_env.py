"""The interface of vector environments, independent of the backend."""

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evo_core.envs.step_values import ReturnedError
from evo_core.records.chain import FailureReason
from evo_core.records.failures import MemberFailure, Place, text_of
from evo_core.spaces.actions import mask_size, read_mask, require_supported
from evo_core.spaces.observations import Arrays, InvalidObservation, ObservationLayout
from evo_core.spaces.spaces import Spaces

if TYPE_CHECKING:
    from torch import Tensor

MASK = "action_mask"
"""Key of an environment's info under which it says what actions it allows, as Gymnasium's own environments do."""

log = logging.getLogger(__name__)

_SAID: set[tuple[str, str]] = set()
"""Environments and leaves already reported as out of bounds by this process, because every generation would report
them."""


@contextmanager
def ignore_warnings() -> Iterator[None]:
    """Suppress warnings of environments in the body, which only inspects them; members will warn again."""
    said = set(_SAID)
    log.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeFilter(_nothing)
        _SAID.intersection_update(said)


def _nothing(record: logging.LogRecord) -> bool:
    return False


class Transition(NamedTuple):
    """The result of one step of B environments: rewards, terminated, truncated, valid, each [B].

    Rows that are not `valid` are no transitions: the environment was reset instead of being stepped.
    `final_observations` maps every environment that ended its episode to the observation it ended with.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    final_observations: dict[int, Arrays]


class VectorEnvs(ABC):
    """Base class of environments that are stepped together, with their current state.

    `observations`: per leaf [B, ...]; `masks`: what actions are allowed, [B, outputs], None if environments do not
    say; `returns`, `lengths`: [B], of each running episode; `ended_returns`, `ended_lengths`: [B], of the last one
    that ended; `memory`: the memory of the policy in each running episode, kept by the caller; `steps`:
    environment steps so far; `own_steps`: [B], those of each environment; `at`: the environment that is being stepped,
    None where that is not known.
    """

    def __init__(self, name: str, spaces: Spaces, count: int) -> None:
        self.name, self.spaces, self.count = name, spaces, count
        self.layout = ObservationLayout(spaces.observation)
        self.observations = self.layout.empty(count)
        self.masks: np.ndarray | None = None
        self.memory: Tensor | None = None
        self.returns, self.lengths = np.zeros(count), np.zeros(count, np.int64)
        self.ended_returns, self.ended_lengths = np.zeros(count), np.zeros(count, np.int64)
        self.steps = 0
        self.own_steps = np.zeros(count, np.int64)
        self.at: int | None = None
        require_supported(spaces.action)
        self._options = mask_size(spaces.action)
        self._inside_so_far = [leaf for leaf in self.layout.leaves if (name, leaf.name) not in _SAID]

    def step(self, actions: Iterable[Any]) -> Transition:
        """Step every environment; MemberFailure when one raises or returns invalid values."""
        try:
            made = self._advance(actions)
        except MemberFailure:
            raise
        except (Exception, SystemExit) as error:
            raise self.failure(error) from error
        self.at = None
        self.steps += self.count
        self.own_steps += 1
        self._check(made)
        self.returns += made.rewards
        self.lengths += made.valid
        if made.final_observations:
            ended = list(made.final_observations)
            self.ended_returns[ended], self.ended_lengths[ended] = self.returns[ended], self.lengths[ended]
            self.returns[ended] = self.lengths[ended] = 0
        return made

    @abstractmethod
    def _advance(self, actions: Iterable[Any]) -> Transition:
        """Step every environment, and write to `observations` and `masks`."""

    @abstractmethod
    def close(self) -> None:
        """Close every environment."""

    def failure(self, error: BaseException) -> MemberFailure:
        """Return the member's failure with environment, step and error."""
        if isinstance(error, MemberFailure):
            return error
        place = self.place(self.at)
        if isinstance(error, InvalidObservation):
            reason: FailureReason = "environment_error" if error.finite else "nan_observation"
            return MemberFailure(reason, self.steps, f"{self.name}: observation, {error}", place)
        if isinstance(error, ReturnedError):
            return MemberFailure("environment_error", self.steps, f"{self.name}: {error}", place)
        said = f"{self.name}: {type(error).__name__}: {text_of(error)}"
        return MemberFailure("environment_error", self.steps, said, place)

    def place(self, index: int | None) -> Place | None:
        """Describe the progress of an environment; None if it is unknown which one."""
        return None if index is None else Place(index, int(self.own_steps[index]), int(self.lengths[index]))

    def require_valid(self) -> None:
        """Raise MemberFailure unless all observations are valid; warn once when they leave their bounds."""
        try:
            self.layout.check(self.observations)
        except InvalidObservation as error:
            self.at = self._first_invalid()
            raise self.failure(error) from None
        for leaf in self._inside_so_far:
            if leaf.outside(self.observations[leaf.name]):
                self._inside_so_far.remove(leaf)
                _SAID.add((self.name, leaf.name))
                log.warning(
                    "%s: step %d: observation leaf %r is outside the bounds of its space; the run continues "
                    "(reported once)",
                    self.name,
                    self.steps,
                    leaf.name,
                )
                return  # others in a later step

    def read_mask(self, index: int, info: Mapping[str, Any]) -> None:
        """Return the action mask in an environment's info; without one, every action is allowed."""
        mask = info.get(MASK)
        if mask is not None and self._options:
            if self.masks is None:
                self.masks = np.ones((self.count, self._options), np.bool_)
            self.masks[index] = read_mask(self.spaces.action, mask)
        elif self.masks is not None:
            self.masks[index] = True

    def _check(self, made: Transition) -> None:
        self.require_valid()
        try:
            for self.at, observation in made.final_observations.items():
                self.layout.check(observation)
        except InvalidObservation as error:
            raise self.failure(error) from None
        self.at = None
        self.require_finite(made.rewards)

    def require_finite(self, rewards: np.ndarray, indices: Sequence[int] | None = None) -> None:
        """Raise MemberFailure unless all rewards are numbers; `indices` are the environments' when not all stepped."""
        if not np.isfinite(rewards).all():
            wrong = int(np.flatnonzero(~np.isfinite(rewards))[0])
            place = self.place(wrong if indices is None else indices[wrong])
            raise MemberFailure("nan_reward", self.steps, f"{self.name}: rewards {rewards.tolist()}", place)

    def _first_invalid(self) -> int | None:
        """Return the environment whose observation is invalid."""
        for index in range(self.count):
            try:
                self.layout.check({name: rows[index : index + 1] for name, rows in self.observations.items()})
            except InvalidObservation:
                return index
        return None
