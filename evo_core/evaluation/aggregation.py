"""Aggregation of what episodes are worth to a fitness, with its standard error and interval.

Means have the closed forms. The others are resampled: Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
equations 6.6 (standard error) and 13.5 (percentile interval).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from evo_core.config.objectives import Objective

RESAMPLES = 9999
ERROR_RESAMPLES = 999
"""Enough for a standard error, which has no tails."""

AT_ONCE = 4_000_000
"""Numbers that are drawn at once: 32 MB."""

Statistic = Callable[..., Any]
"""Function of values and an axis to their aggregate along it."""


def interquartile_mean(values: np.ndarray, axis: int = -1) -> Any:
    """Return the interquartile mean along an axis: without the lowest and highest quarter (Agarwal et al. 2021)."""
    count = values.shape[axis]
    cut = count // 4
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, -1)
    return ordered[..., cut : count - cut].mean(axis=-1)


def lower_mean(values: np.ndarray, share: float, axis: int = -1) -> Any:
    """Return the mean of the lowest `share` along an axis: the conditional value at risk.

    A value that lies partly in the share counts as much of itself (Rockafellar and Uryasev 2002, "Conditional
    Value-at-Risk for General Loss Distributions", proposition 8).
    """
    count = values.shape[axis]
    weights = np.clip(share * count - np.arange(count), 0, 1)
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, -1)
    return (ordered * weights).sum(axis=-1) / weights.sum()


def _worst_mean(values: np.ndarray, share: float, sign: int, axis: int = -1) -> Any:
    return sign * lower_mean(sign * values, share, axis)


def statistic_of(objective: Objective) -> Statistic:
    """Return the aggregation of an objective; the worst episodes are those of most, where less is better."""
    match objective.aggregation:
        case "mean":
            return np.mean
        case "median":
            return np.median
        case "iqm":
            return interquartile_mean
        case "cvar":
            return partial(_worst_mean, share=objective.cvar, sign=objective.sign)


def aggregate(values: np.ndarray, objective: Objective) -> float:
    """Aggregate what episodes are worth, [episodes]."""
    return float(statistic_of(objective)(values, axis=-1))


def standard_error(values: np.ndarray, objective: Objective, rng: np.random.Generator) -> float | None:
    """Compute the standard error of an aggregate, None for one episode; `rng` resamples."""
    count = len(values)
    if count < 2:
        return None
    if objective.aggregation == "mean":
        return float(values.std(ddof=1) / np.sqrt(count))
    statistic = statistic_of(objective)
    found = [statistic(values[draws], axis=-1) for draws in _draws(count, rng)]
    return float(np.concatenate(found).std(ddof=1))


def interval(values: np.ndarray, objective: Objective, rng: np.random.Generator) -> tuple[float, float]:
    """Compute the 95 % interval of the aggregate of at least two values; `rng` resamples.

    Of means Student's t, of success rates Wilson's, of which not even a perfect one has a width of zero.
    """
    if objective.measure == "success" and objective.aggregation == "mean" and set(values.tolist()) <= {0.0, 1.0}:
        return wilson_interval(int(values.sum()), len(values))
    if objective.aggregation == "mean":
        from evo_core.evaluation.intervals import student_interval  # commands that select do without SciPy

        return student_interval(values)
    return bootstrap_interval(values, statistic_of(objective), rng)


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def bootstrap_interval(values: np.ndarray, statistic: Statistic, rng: np.random.Generator) -> tuple[float, float]:
    """Compute a 95 % interval of at least two values by the percentile bootstrap."""
    from scipy.stats import bootstrap

    # percentiles: bias correction has no answer where all values are equal, as those of a solved task may be
    found = bootstrap(
        (values,),
        statistic,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // len(values)),
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)


def difference_and_error(
    ones: np.ndarray, others: np.ndarray, objective: Objective, rng: np.random.Generator
) -> tuple[float, float]:
    """Return how much better the aggregate of `ones` is than that of `others`, and the standard error.

    Both are [episodes], of the same seeds: episodes are paired, so the luck that both had cancels.
    """
    count, sign = len(ones), objective.sign
    if objective.aggregation == "mean":
        differences = np.subtract(ones, others)
        error = differences.std(ddof=1) / np.sqrt(count) if count > 1 else 0.0
        return float(sign * differences.mean()), float(error)
    statistic = statistic_of(objective)
    found = [statistic(ones[draws], axis=-1) - statistic(others[draws], axis=-1) for draws in _draws(count, rng)]
    difference = statistic(ones, axis=-1) - statistic(others, axis=-1)
    return float(sign * difference), float(np.concatenate(found).std(ddof=1))


def _draws(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw the episodes of ERROR_RESAMPLES resamples, each [resamples, episodes], so many that they fit in memory."""
    most = max(1, AT_ONCE // count)
    for start in range(0, ERROR_RESAMPLES, most):
        yield rng.integers(0, count, (min(most, ERROR_RESAMPLES - start), count))
