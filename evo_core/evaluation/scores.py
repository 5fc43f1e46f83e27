"""Statistics of the returns of many episodes: means, standard errors and bootstrap intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import bootstrap, trim_mean

from evo_core.genome.architecture import Record

RESAMPLES = 9999
_AT_ONCE = 4_000_000
"""Numbers that are drawn at once: 32 MB."""

Interval = tuple[float, float]


class Score(Record):
    """A summary of returns.

    `iqm` is the mean of the middle half (Agarwal et al. 2021). Intervals are 95 % by the percentile bootstrap; errors
    and intervals are null for one episode. `length` is the mean number of steps.
    """

    episodes: int
    mean: float
    sem: float | None
    mean_ci95: Interval | None
    iqm: float
    iqm_ci95: Interval | None
    min: float
    max: float
    length: float
    length_min: int
    length_max: int


def score(returns: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> Score:
    """Summarize returns and lengths, both [episodes]; `rng` resamples."""
    count = len(returns)
    return Score(
        episodes=count,
        mean=float(returns.mean()),
        sem=float(returns.std(ddof=1) / np.sqrt(count)) if count > 1 else None,
        mean_ci95=_interval(returns, np.mean, rng),
        iqm=float(interquartile_mean(returns)),
        iqm_ci95=_interval(returns, interquartile_mean, rng),
        min=float(returns.min()),
        max=float(returns.max()),
        length=float(lengths.mean()),
        length_min=int(lengths.min()),
        length_max=int(lengths.max()),
    )


def interquartile_mean(values: np.ndarray, axis: int = -1) -> Any:
    """Return the interquartile mean along an axis: without the lowest and highest quarter."""
    return trim_mean(values, 0.25, axis=axis)


def _interval(returns: np.ndarray, statistic: Callable[..., Any], rng: np.random.Generator) -> Interval | None:
    if len(returns) < 2:
        return None
    # percentiles: bias correction has no answer where all returns are equal, as those of a solved task may be
    found = bootstrap(
        (returns,),
        statistic,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(returns)),
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)
