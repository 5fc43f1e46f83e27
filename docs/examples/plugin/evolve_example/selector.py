"""Lexicase selection over the episodes of an evaluation."""

from collections.abc import Sequence

import numpy as np

from evo_core.records.chain import Member


class Lexicase:
    """Keep, episode by episode in a random order, who is within `epsilon` of the best (La Cava et al. 2016, "Epsilon-
    Lexicase Selection for Regression"): specialists of rare situations become parents too.

    All members have played the same episodes.
    """

    def __init__(self, epsilon: float = 0.0) -> None:
        self.epsilon = epsilon

    def select(
        self, members: Sequence[Member], scores: np.ndarray, count: int, rng: np.random.Generator
    ) -> Sequence[int]:
        """Draw an order of the episodes for each place."""
        returns = np.array([m.evaluation.returns for m in members if m.evaluation and m.evaluation.returns])
        if len(returns) < len(members):  # records of old versions have no returns
            returns = scores[:, None]
        return [self._choose(returns, rng) for _ in range(count)]

    def _choose(self, returns: np.ndarray, rng: np.random.Generator) -> int:
        left = np.arange(len(returns))
        for episode in rng.permutation(returns.shape[1]):
            best = returns[left, episode].max()
            left = left[returns[left, episode] >= best - self.epsilon]
        return int(rng.choice(left))
