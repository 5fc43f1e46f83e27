"""Figures of records, by Plotly; pictures need the extra `png`."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from benchmarks.arena import metrics
from benchmarks.arena.records import Record
from benchmarks.arena.tables import grouped

DASHES = ("solid", "dash", "dot", "dashdot")


def arrivals(records: Sequence[Record]) -> go.Figure:
    """Draw the share of runs that have reached the target over total steps, per arm; the soonest arm comes first."""
    figure, budget = go.Figure(), records[0].budget
    arms = sorted((group for _, group in grouped(records, "arm")), key=metrics.restricted_mean)
    for number, group in enumerate(arms):
        steps, alive = metrics.survival(group)
        figure.add_scatter(
            x=np.concatenate([[0], steps, [budget]]) / 1000,
            y=1 - np.concatenate([[1], alive, alive[-1:]]),
            name=f"{group[0].arm} ({metrics.success(group)[0]}/{len(group)})",
            mode="lines",
            line={"shape": "hv", "dash": DASHES[number // 10 % len(DASHES)]},
        )
    figure.update_layout(
        title=f"{records[0].task}, start {records[0].start}: runs at target {records[0].target:g}",
        xaxis={"title": "total environment steps, thousands", "range": [0, budget / 1000]},
        yaxis={"title": "share of runs", "range": [0, 1.02], "tickformat": ".0%"},
        template="plotly_white",
    )
    return figure
