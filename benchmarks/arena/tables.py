"""Tables of records as Markdown: one per task and start, and the comparison of two arms."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from benchmarks.arena import metrics
from benchmarks.arena.records import Record
from benchmarks.arena.tasks import TASKS

HEADINGS = (
    "arm",
    "reached",
    "restricted mean, k steps (95 %)",
    "median",
    "area under the curve",
    "final IQM",
    "evaluation",
    "CPU s",
)


def table(records: Sequence[Record]) -> Iterator[str]:
    """Write a table per task and start, its arms ordered by restricted mean."""
    for (task, start), found in grouped(records, "task", "start"):
        target, budget = found[0].target, found[0].budget
        yield f"### {task}, start `{start}`: target {target:g}, budget {budget // 1000:,} k total steps\n"
        yield f"| {' | '.join(HEADINGS)} |"
        yield "|---" * len(HEADINGS) + "|"
        arms = [group for _, group in grouped(found, "arm")]
        for arm in sorted(arms, key=metrics.restricted_mean):
            yield _row(arm, TASKS[task].floor)
        yield ""


def comparison(records: Sequence[Record], ours: str, theirs: str) -> Iterator[str]:
    """Write the comparison of two arms on the seeds that both have run: per task and start, and over all of them."""
    yield f"### `{ours}` against `{theirs}`\n"
    yield "| task, start | pairs | reached | median | ratio of restricted means (95 %) | log-rank p | P(sooner) |"
    yield "|---|---|---|---|---|---|---|"
    pairs: dict[str, list[tuple[Record, Record]]] = {}
    for (task, start), found in grouped(records, "task", "start"):
        of = {(record.arm, record.seed): record for record in found}
        seeds = sorted(seed for arm, seed in of if arm == ours and (theirs, seed) in of)
        if seeds:
            name = f"{task}, {start}"
            pairs[name] = [(of[ours, seed], of[theirs, seed]) for seed in seeds]
            yield _compared(name, pairs[name])
    if len(pairs) > 1:
        count = sum(map(len, pairs.values()))
        yield f"| all | {count} | | | {_shown(metrics.paired_ratio(pairs), 1, '.2f')} | | |"
    yield ""


def grouped(records: Sequence[Record], *fields: str) -> Iterator[tuple[tuple[str, ...], list[Record]]]:
    """Group records by fields, in alphabetical order, and by seed within a group."""

    def key(record: Record) -> tuple[str, ...]:
        return tuple(getattr(record, field) for field in fields)

    for values, group in groupby(sorted(records, key=lambda record: (*key(record), record.seed)), key):
        yield values, list(group)


def _row(records: list[Record], floor: float) -> str:
    reached, count = metrics.success(records)
    times = np.array([metrics.steps_to_target(record)[0] for record in records])
    areas = np.array([metrics.area(record, floor) for record in records])
    steps = sum(record.eval_steps for record in records) / sum(r.train_steps + r.eval_steps for r in records)
    stopped = any(record.stopped for record in records)
    cells = (
        f"`{records[0].arm}`",
        f"{reached}/{count}",
        _shown(metrics.mean_interval(times), 1000, ".0f"),
        _median(records),
        "" if stopped else f"{areas.mean():.2f}",
        "" if stopped else f"{metrics.interquartile_mean(metrics.final_scores(records)):.0f}",
        f"{steps:.0%}",
        f"{np.mean([record.cpu_s for record in records]):.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _compared(name: str, pairs: list[tuple[Record, Record]]) -> str:
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    negative = [[-metrics.steps_to_target(record)[0] for record in side] for side in (ours, theirs)]
    cells = (
        name,
        str(len(pairs)),
        " : ".join(f"{metrics.success(side)[0]}" for side in (ours, theirs)),
        " : ".join(_median(side) for side in (ours, theirs)),
        _shown(metrics.paired_ratio({name: pairs}), 1, ".2f"),
        f"{metrics.log_rank(ours, theirs):.3f}",
        f"{metrics.improvement(*negative):.2f}",
    )
    return f"| {' | '.join(cells)} |"


def _median(records: list[Record]) -> str:
    value = metrics.median(records)
    return f"{value / 1000:.0f}" if np.isfinite(value) else "–"


def _shown(interval: metrics.Interval, unit: float, form: str) -> str:
    value, low, high = (format(each / unit, form) for each in interval)
    return f"**{value}** [{low}, {high}]"
