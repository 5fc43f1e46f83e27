"""Figures of cost: steps, time, and what each worker did when."""

from collections import defaultdict
from collections.abc import Callable

import plotly.graph_objects as go

from evo_core.records.chain import Member
from flows.report.run_data import PHASES, RunView
from flows.report.style import BLUE, GRAY, GREEN, ORANGE, RED, SKY, Figure, styled

GANTT_PHASES = 4000
"""Maximum number of bars; the last ones of a longer run."""


def cost(view: RunView) -> Figure:
    """Figure of steps and seconds by outcome."""
    steps, seconds = _cost(view)
    known = sum(seconds.values())
    plot = go.Figure()
    for name, color in FATES.items():
        shares = [steps[name] / max(sum(steps.values()), 1), seconds[name] / known if known else 0.0]
        texts = [f"{steps[name]:,} steps", f"{seconds[name]:,.0f} s"]
        plot.add_trace(
            go.Bar(
                y=["steps", "seconds"], x=shares, name=name, orientation="h", marker_color=color, text=texts,
                textposition="inside", hovertemplate="%{text}, %{x:.0%}",
            )
        )  # fmt: skip
    plot.update_layout(barmode="stack")
    plot.update_xaxes(tickformat=".0%")
    retries = sum(timing.attempt > 1 for timing in view.timings.values())
    missing = 2 * len(view.lineage.members) - len(view.timings)
    return Figure(
        "cost",
        "Where the compute went",
        "Of all environment steps and worker seconds: what the ancestors of the winner took, what other living lines "
        f"took, and what went into extinct lines, members that failed, and evaluation; {retries} phases needed more "
        f"than one attempt, and the clocks of {missing} are not known.",
        styled(plot, height=260),
    )


FATES = {"line that won": ORANGE, "living lines": GREEN, "extinct lines": GRAY, "failed": RED, "evaluation": SKY}


def _cost(view: RunView) -> tuple[dict[str, int], dict[str, float]]:
    winning = {member.uid for member in view.lineage.line(view.winner)}
    steps: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for member in view.lineage.members.values():
        fate = _fate(view, member, winning)
        steps[fate] += member.training.steps
        steps["evaluation"] += member.evaluation.steps if member.evaluation else 0
        for phase, name in zip(PHASES, (fate, "evaluation"), strict=True):
            if timing := view.timings.get((member.uid, phase)):
                seconds[name] += (timing.end - timing.start).total_seconds()
    return steps, seconds


def _fate(view: RunView, member: Member, winning: set[str]) -> str:
    if member.failure is not None:
        return "failed"
    if member.uid in winning:
        return "line that won"
    return "living lines" if member.uid in view.lineage.alive else "extinct lines"


def workers(view: RunView) -> Figure:
    """Figure of the workers' activity over time."""
    recent = sorted(view.timings.items(), key=lambda item: item[1].start)[-GANTT_PHASES:]
    plot = go.Figure()
    for phase, color in zip(PHASES, (BLUE, SKY), strict=True):
        bars = [(uid, timing) for (uid, name), timing in recent if name == phase]
        plot.add_trace(
            go.Bar(
                base=[timing.start for _, timing in bars],
                x=[(timing.end - timing.start).total_seconds() * 1000 for _, timing in bars],
                y=[f"{timing.host} {timing.process}" for _, timing in bars],
                orientation="h",
                marker_color=color,
                marker_line_width=0.5,
                name=phase,
                text=[uid for uid, _ in bars],
                textposition="none",
                hovertemplate="%{text}<br>%{base|%H:%M:%S}<extra>" + phase + "</extra>",
            )
        )
    plot.update_layout(barmode="overlay", bargap=0.2)
    plot.update_xaxes(type="date")
    rows = len({(timing.host, timing.process) for _, timing in recent})
    shown = f" (the last {GANTT_PHASES:,} phases)" if len(view.timings) > GANTT_PHASES else ""
    return Figure(
        "workers",
        "When which worker did what",
        f"Each row is a worker process, each bar one member's training or evaluation{shown}: gaps are time in which a "
        "worker waited for the slowest member of its generation, or for selection.",
        styled(plot, "time (UTC)", height=140 + 30 * min(rows, 40)),
    )


FIGURES: tuple[Callable[[RunView], Figure], ...] = (cost, workers)
