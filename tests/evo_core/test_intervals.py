"""Coverage of confidence intervals, also for few values."""

import numpy as np
import pytest
from scipy.stats import t

from evo_core.evaluation.intervals import mean_interval


def test_equal_weights_give_students_interval():
    values = np.array([1.0, 4.0, 2.0, 7.0])
    expected = t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval(values, np.full(4, 3.0)) == pytest.approx(expected)
    assert mean_interval(values[:2]) is None


@pytest.mark.parametrize("count", [3, 5, 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_is_held_in_95_of_100_cases(count, weighted):
    rng = np.random.default_rng(count)
    held = 0
    for _ in range(2000):
        weights = rng.integers(1, 4, count).astype(float) if weighted else None
        values = rng.normal(2.0, 1.0 / np.sqrt(weights) if weighted else 1.0, count)
        low, high = mean_interval(values, weights)
        held += low <= 2.0 <= high
    assert 0.93 < held / 2000 < 0.985
