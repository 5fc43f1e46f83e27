"""Running statistics of a member's observations and discounted returns, used for normalization.

They are part of the member's state: they pass to its offspring, and evaluation reads them without changing them.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from evo_core.spaces.observations import Arrays, Leaf, ObservationLayout

LIMIT = 10.0
"""Normalized observations and rewards are clipped to ± this, as everywhere in the field."""
EPSILON = 1e-8
RETURNS = "returns"

Statistics = Mapping[str, Tensor]
"""Per quantity `name.mean`, `name.variance` and `name.count`, all float64."""


class Moments:
    """Count, mean and variance of a stream of rows, merged as in Chan et al. (1979)."""

    def __init__(self, count: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
        self.count, self.mean, self.variance = count, mean, variance

    def update(self, rows: np.ndarray) -> None:
        """Update the statistics with rows [N, ...]."""
        if not len(rows):
            return
        added = rows.astype(np.float64)
        mean, total = added.mean(0), self.count + len(added)
        difference = mean - self.mean
        between = np.square(difference) * self.count * len(added) / total
        self.variance = (self.variance * self.count + added.var(0) * len(added) + between) / total
        self.mean = self.mean + difference * len(added) / total
        self.count = total

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation; 1 before the first update."""
        deviation: np.ndarray = np.sqrt(self.variance + EPSILON) if self.count else np.ones_like(self.variance)
        return deviation


class Transitions(Protocol):
    """The parts of a rollout that the normalizer reads: observations [T, B, ...]; rewards, ends and validity [T, B]."""

    observations: Arrays
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


class Normalizer:
    """Normalizes observations and rewards as configured, and passes everything else through."""

    def __init__(self, statistics: Statistics) -> None:
        names = {name.rsplit(".", 1)[0] for name in statistics}
        self.moments = {
            name: Moments(*(statistics[f"{name}.{part}"].numpy().copy() for part in ("count", "mean", "variance")))
            for name in sorted(names)
        }
        self.leaves = {name: moments for name, moments in self.moments.items() if name != RETURNS}
        self._returns, self._first = np.zeros(()), False

    def observe(self, rows: Arrays) -> Arrays:
        """Normalize rows of observations."""
        if not self.leaves:
            return rows
        normal = dict(rows)
        for name, moments in self.leaves.items():
            if moments.count:
                scaled = (rows[_leaf(name)] - moments.mean) / moments.deviation
                normal[_leaf(name)] = np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)
        return normal

    def before_learning(self, rollout: Transitions, gamma: float) -> np.ndarray:
        """Update the statistics with a rollout's returns, and return its scaled rewards, [T, B].

        Observations update the statistics after learning, so that actions are evaluated with the statistics under which
        they were chosen. The first ones of a founder are an exception: its policy is nearly uniform, and learning from
        unscaled numbers would do more harm.
        """
        self._first = any(not moments.count for moments in self.leaves.values())
        if self._first:
            self._take_in(rollout)
        if RETURNS not in self.moments:
            return rollout.rewards
        moments = self.moments[RETURNS]
        moments.update(self._discounted(rollout, gamma))
        scaled: np.ndarray = np.clip(rollout.rewards / moments.deviation, -LIMIT, LIMIT).astype(np.float32)
        return scaled

    def after_learning(self, rollout: Transitions) -> None:
        """Update the statistics with a rollout's observations, unless they were the first."""
        if not self._first:
            self._take_in(rollout)

    def _take_in(self, rollout: Transitions) -> None:
        for name, moments in self.leaves.items():
            moments.update(rollout.observations[_leaf(name)][rollout.valid])

    def statistics(self) -> dict[str, Tensor]:
        """Copy the statistics."""
        return {
            f"{name}.{part}": torch.from_numpy(np.array(getattr(moments, part), np.float64))
            for name, moments in self.moments.items()
            for part in ("count", "mean", "variance")
        }

    def _discounted(self, rollout: Transitions, gamma: float) -> np.ndarray:
        """Discount rewards forward within each episode, R[t] = γ R[t−1] + r[t]; returns those of valid rows, [N]."""
        running = np.broadcast_to(self._returns, rollout.rewards.shape[1:]).astype(np.float64)
        history = np.empty(rollout.rewards.shape, np.float64)
        for t, rewards in enumerate(rollout.rewards):
            history[t] = running = gamma * running + rewards
            running = np.where(rollout.terminated[t] | rollout.truncated[t] | ~rollout.valid[t], 0.0, running)
        self._returns = running
        seen: np.ndarray = history[rollout.valid]
        return seen


def initial_statistics(layout: ObservationLayout, *, observations: bool, returns: bool) -> dict[str, Tensor]:
    """Return the initial statistics of a member."""
    shapes = {f"leaf {leaf.name}": leaf.shape for leaf in layout.leaves if observations and _is_normalized(leaf)}
    if returns:
        shapes[RETURNS] = ()
    return {
        f"{name}.{part}": torch.zeros(() if part == "count" else shape, dtype=torch.float64)
        for name, shape in shapes.items()
        for part in ("count", "mean", "variance")
    }


def are_statistics_complete(statistics: Statistics, layout: ObservationLayout) -> bool:
    """Return True if statistics cover all observations, returns, both, or neither."""
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in statistics.items()}
    return any(
        found == {name: (tensor.shape, tensor.dtype) for name, tensor in expected.items()}
        for observations in (False, True)
        for returns in (False, True)
        for expected in [initial_statistics(layout, observations=observations, returns=returns)]
    ) and all(
        bool((tensor >= 0).all()) for name, tensor in statistics.items() if name.endswith((".count", ".variance"))
    )


def _is_normalized(leaf: Leaf) -> bool:
    """Return True for vectors of floats; images, bytes and indices have a known scale."""
    return isinstance(leaf.space, Box) and leaf.dtype == np.float32 and leaf.image is None


def _leaf(name: str) -> str:
    return name.removeprefix("leaf ")
