"""What is measured over the runs of an arm; scipy does the statistics.

Runs whose incumbent's test never reached the target are censored at the budget (type I), so the Kaplan-Meier estimate
is that of `scipy.stats.ecdf`, and the restricted mean is the area under it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.arena.records import Record

RESAMPLES = 5_000


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def steps_to_target(record: Record) -> tuple[float, bool]:
    """Return the total steps at which an incumbent's test first reached the target, or the budget and False."""
    for point in record.points:
        if point.test >= record.target and point.steps <= record.budget:
            return float(point.steps), True
    return float(record.budget), False


def censored(records: Sequence[Record]) -> stats.CensoredData:
    """Return the steps to the target of runs, right-censored."""
    times = [steps_to_target(record) for record in records]
    return stats.CensoredData(
        uncensored=[steps for steps, reached in times if reached],
        right=[steps for steps, reached in times if not reached],
    )


def survival(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Return the Kaplan-Meier curve: steps where it may fall, and the share of runs not yet arrived after each."""
    curve = stats.ecdf(censored(records)).sf
    return curve.quantiles, curve.probabilities


def restricted_mean(records: Sequence[Record]) -> float:
    """Return the mean steps to the target within the budget: the area under the Kaplan-Meier curve up to it."""
    steps, alive = survival(records)
    edges = np.concatenate([[0.0], steps, [records[0].budget]])
    return float((np.diff(edges) * np.concatenate([[1.0], alive])).sum())


def median(records: Sequence[Record]) -> float:
    """Return the steps by which half of the runs have arrived; infinity when fewer do."""
    steps, alive = survival(records)
    arrived = steps[(alive <= 0.5)]
    return float(arrived[0]) if len(arrived) and arrived[0] < records[0].budget else float("inf")


def success(records: Sequence[Record]) -> tuple[int, int]:
    """Return how many runs reached the target, and how many there are."""
    return sum(steps_to_target(record)[1] for record in records), len(records)


def area(record: Record, floor: float) -> float:
    """Return the mean over the budget of the incumbent's normalized test score: 0 is `floor`, 1 the target.

    It counts as 0 before the first incumbent, and is cut off at 0 below and 1.2 above. NaN for a run that stopped at
    its target.
    """
    if record.stopped:
        return float("nan")
    points = [point for point in record.points if point.steps <= record.budget]
    edges = np.array([*(point.steps for point in points), record.budget], np.float64)
    scores = (np.array([point.test for point in points]) - floor) / (record.target - floor)
    return float((np.diff(edges) * np.clip(scores, 0, 1.2)).sum() / record.budget)


def final_scores(records: Sequence[Record]) -> np.ndarray:
    """Return the mean return of what each run delivered on fresh episodes, [runs]; of runs that stopped early too."""
    return np.array([np.mean(record.final) if record.final else -np.inf for record in records])


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half (Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice")."""
    return float(stats.trim_mean(scores, 0.25))


def improvement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the probability that a random one of ours is greater than one of theirs, ties counted half."""
    statistic = stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic
    return float(statistic / (len(ours) * len(theirs)))


def log_rank(ours: Sequence[Record], theirs: Sequence[Record]) -> float:
    """Return the two-sided p-value of the log-rank test: do two arms arrive equally fast?"""
    return float(stats.logrank(censored(ours), censored(theirs)).pvalue)


def paired_ratio(pairs: Mapping[str, Sequence[tuple[Record, Record]]]) -> Interval:
    """Return the ratio of restricted means, ours over theirs: the geometric mean over tasks, stratified by task.

    Pairs are runs of one seed; seeds are resampled with replacement within each task.
    """
    rng = np.random.default_rng(0)
    times = [np.array([[steps_to_target(record)[0] for record in pair] for pair in task]) for task in pairs.values()]

    def ratio(samples: list[np.ndarray]) -> float:
        means = [np.log(sample.mean(0)) for sample in samples]
        return float(np.exp(np.mean([ours - theirs for ours, theirs in means])))

    resampled = [ratio([task[rng.integers(len(task), size=len(task))] for task in times]) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(ratio(times), float(low), float(high))


def mean_interval(values: np.ndarray) -> Interval:
    """Return a mean over runs with its bootstrap interval; the mean alone where all runs are alike or there is one."""
    value = float(values.mean())
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(value, value, value)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, rng=np.random.default_rng(0), method="percentile"
    )
    return Interval(value, float(found.confidence_interval.low), float(found.confidence_interval.high))
