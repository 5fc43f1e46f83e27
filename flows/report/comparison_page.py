"""Figures of a comparison of runs, and its HTML page."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from flows.report.comparison import Group, differing_fields, group_table, run_table
from flows.report.html_page import render_comparison
from flows.report.style import BLUE, GREEN, INK, ORANGE, PURPLE, RED, SKY, STEPS, YELLOW, Figure, styled
from tasks.views.phrases import fitness_name

COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, INK)


def comparison_figures(groups: Sequence[Group]) -> list[Figure]:
    """Draw the best fitness so far of every run over steps, and their confirmed scores."""
    figures = [_progress(groups)]
    if any(side.view.confirmed for group in groups for side in group.sides):
        figures.append(_confirmed(groups))
    return figures


def comparison_page(groups: Sequence[Group], figures: Sequence[Figure]) -> str:
    """Write the page of a comparison: tables and figures."""
    first = groups[0].sides[0].view
    tables = [("Runs", *run_table(groups)), ("Configurations", *group_table(groups))]
    if len(groups) > 1:
        tables.append(("What differs", *differing_fields(groups)))
    runs = sum(len(group.sides) for group in groups)
    return render_comparison(f"{runs} runs on {first.config.env.id}", tables, figures)


def _progress(groups: Sequence[Group]) -> Figure:
    plot = go.Figure()
    for number, group in enumerate(groups):
        color = COLORS[number % len(COLORS)]
        many = len(group.sides) > 1
        for side in group.sides:
            plot.add_trace(
                go.Scatter(
                    x=side.steps, y=side.best, mode="lines", name=group.name, legendgroup=group.name,
                    showlegend=not many, text=[side.view.run_id] * len(side.steps), hovertemplate="%{text}: %{y:.4g}",
                    line={"shape": "hv", "color": color, "width": 1 if many else 2}, opacity=0.5 if many else 1,
                )
            )  # fmt: skip
        if many:
            _add_band(plot, group, color)
    target = groups[0].sides[0].view.config.training.target
    if target is not None:
        plot.add_hline(target, line_dash="dot", line_color=RED, annotation_text="target")
    return Figure(
        "best_so_far",
        "Best so far",
        "Each line is the best fitness that an elite of a run had until then, or with further objectives a member of "
        "its front, at equal training steps of the whole population. Of runs of one configuration the thick line is "
        "the mean, and the band, from three runs on, its 95 % interval over seeds (Student's t). A best of many noisy "
        "scores is optimistic: compare confirmed ones.",
        styled(plot, STEPS, f"best {fitness_name(groups[0].sides[0].view.config)} so far"),
    )


def _add_band(plot: go.Figure, group: Group, color: str) -> None:
    grid, means, intervals = group.band()
    bounds = np.array([ends for ends in intervals if ends is not None])
    if len(bounds):
        for edge, fill in zip(bounds.T, (None, "tonexty"), strict=True):
            plot.add_trace(
                go.Scatter(
                    x=grid, y=edge, fill=fill, fillcolor=_pale(color), mode="lines", line={"width": 0, "shape": "hv"},
                    hoverinfo="skip", showlegend=False, legendgroup=group.name,
                )
            )  # fmt: skip
    plot.add_trace(
        go.Scatter(
            x=grid, y=means, mode="lines", line={"color": color, "width": 3, "shape": "hv"}, legendgroup=group.name,
            name=f"{group.name}: mean of {len(group.sides)} runs",
        )
    )  # fmt: skip


def _pale(color: str) -> str:
    """Return a color of six hexadecimal digits with little opacity."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _confirmed(groups: Sequence[Group]) -> Figure:
    plot, title = go.Figure(), groups[0].sides[0].view.config.evaluation.objective.oriented_title
    for number, group in enumerate(groups):
        known = [(side.view, side.view.confirmed) for side in group.sides if side.view.confirmed is not None]
        means = [score.mean for _, score in known]
        plot.add_trace(
            go.Scatter(
                x=means,
                y=[view.run_id for view, _ in known],
                error_x={
                    "array": [score.ci95[1] - score.mean for _, score in known],
                    "arrayminus": [score.mean - score.ci95[0] for _, score in known],
                },
                mode="markers",
                marker={"size": 10, "color": COLORS[number % len(COLORS)]},
                name=group.name,
            )
        )
    rows = sum(len(group.sides) for group in groups)
    plot.update_yaxes(autorange="reversed", type="category")
    return Figure(
        "confirmed",
        "Confirmed scores",
        f"Each dot is the {title} of the agent that a run delivers, on fresh seeds that selection never saw, with "
        "its 95 % interval over episodes.",
        styled(plot, f"{title} on fresh seeds", height=160 + 28 * rows),
    )
