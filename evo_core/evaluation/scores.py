"""Statistics of the returns of many episodes: means, standard errors and bootstrap intervals."""

import numpy as np
from pydantic import Field

from evo_core.config.objectives import Direction, Objective
from evo_core.evaluation.aggregation import (
    Statistic,
    aggregate,
    bootstrap_interval,
    interquartile_mean,
    interval,
    standard_error,
)
from evo_core.genome.architecture import Record
from evo_core.records.chain import ObjectiveValue

Interval = tuple[float, float]


class FitnessScore(Record):
    """A fitness on many episodes, with its standard error and 95 % interval, both null for one episode."""

    name: str
    direction: Direction
    value: float
    sem: float | None
    ci95: Interval | None


class Score(Record):
    """A summary of returns.

    `iqm` is the mean of the middle half (Agarwal et al. 2021). Intervals are 95 % by the percentile bootstrap; errors
    and intervals are null for one episode. `length` is the mean number of steps. `fitness` is there if the run's is not
    the mean return, `objectives` if it has further ones.
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
    fitness: FitnessScore | None = Field(default=None, exclude_if=lambda value: value is None)
    objectives: tuple[ObjectiveValue, ...] = Field(default=(), exclude_if=lambda value: not value)


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


def add_fitness(found: Score, values: np.ndarray, objective: Objective, rng: np.random.Generator) -> Score:
    """Add the fitness to a score, where it is not the mean return; `values` are what the episodes were worth."""
    if objective.is_mean_return:
        return found
    fitness = FitnessScore(
        name=objective.title,
        direction=objective.direction,
        value=aggregate(values, objective),
        sem=standard_error(values, objective, rng),
        ci95=interval(values, objective, rng) if len(values) > 1 else None,
    )
    return found.model_copy(update={"fitness": fitness})


def _interval(returns: np.ndarray, statistic: Statistic, rng: np.random.Generator) -> Interval | None:
    return bootstrap_interval(returns, statistic, rng) if len(returns) > 1 else None
