"""Figures of the evolution: fitness, the family tree, and hyperparameter schedules."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Member
from flows.report.run_data import RunView
from flows.report.style import BLUE, GRAY, LABELS, ORANGE, PALE, RED, STEPS, Figure, colors_of, styled
from tasks.views.phrases import describe_origin, fitness_name, written_genes
from tasks.views.trial_values import parameters

Point = tuple[float, float]
LINEAR_RATIO = 20
"""Ratio of values above which an axis is logarithmic."""


def fitness(view: RunView) -> Figure:
    """Figure of every member's fitness with its standard error, and the winner's line."""
    lineage = view.lineage
    members = [member for member in lineage.members.values() if member.evaluation]
    x = [lineage.steps[member.offspring.generation] for member in members]
    plot = go.Figure()
    plot.add_trace(
        go.Scattergl(
            x=x,
            y=[member.fitness for member in members],
            error_y={"array": [m.evaluation.fitness_sem or 0 for m in members if m.evaluation], "thickness": 1},
            mode="markers",
            marker={"size": 5, "color": GRAY},
            text=[_hover(lineage, member) for member in members],
            hoverinfo="text",
            name="members ± standard error",
        )
    )
    plot.add_trace(_line(view, "line that won"))
    if view.config.training.target is not None:
        plot.add_hline(view.config.training.target, line_dash="dot", line_color=RED, annotation_text="target")
    return Figure(
        "fitness",
        "Fitness of all members",
        f"Each dot is a member's {view.config.evaluation.objective.oriented_title} over its evaluation episodes, its "
        "bar one standard error; the thick line leads through the ancestors of the agent that won.",
        styled(plot, STEPS, fitness_name(view.config)),
    )


def family_tree(view: RunView) -> Figure:
    """Figure of the family tree: edges from parent to child, colored by mutation."""
    lineage = view.lineage
    dead: list[Point | None] = []
    living: dict[str, list[Point | None]] = defaultdict(list)
    alive = lineage.alive | {member.uid for member in lineage.line(view.winner)}
    for member in lineage.members.values():
        parent = lineage.parent(member)
        if parent is None or member.fitness is None or parent.fitness is None:
            continue
        edges = living[member.offspring.mutation.kind] if member.uid in alive else dead
        edges += [_point(lineage, parent), _point(lineage, member), None]
    plot = go.Figure(_edges(dead, PALE, "extinct", 1))
    plot.add_trace(_line(view, "line that won", width=7, color="rgba(240,228,66,0.8)"))
    colors = colors_of(member.offspring.mutation.kind for member in lineage.members.values())
    for kind, edges in living.items():
        plot.add_trace(_edges(edges, colors[kind], LABELS.get(kind, kind), 2))
    shown = [member for member in lineage.members.values() if member.uid in alive and member.fitness is not None]
    plot.add_trace(
        go.Scatter(
            x=[_point(lineage, m)[0] for m in shown],
            y=[m.fitness for m in shown],
            mode="markers",
            marker={"size": 6, "color": [colors[m.offspring.mutation.kind] for m in shown]},
            text=[_hover(lineage, m) for m in shown],
            hoverinfo="text",
            showlegend=False,
        )
    )
    return Figure(
        "family_tree",
        "Family tree",
        "Each edge leads from a parent to its child and has the color of the child's mutation; lines that left no "
        "descendants are gray, and the marked path is the one that won.",
        styled(plot, STEPS, fitness_name(view.config), 520),
    )


def schedules(view: RunView) -> Figure:
    """Figure of every parameter along the winner's line and in the population."""
    lineage = view.lineage
    table = {uid: parameters(member.offspring.genome) for uid, member in lineage.members.items()}
    varying = _varying(list(table.values()))
    rows = max(1, -(-len(varying) // 2))
    spacing = {"horizontal_spacing": 0.12, "vertical_spacing": 0.45 / rows}
    plot = make_subplots(rows=rows, cols=2, subplot_titles=varying, **spacing)
    for number, name in enumerate(varying):
        values = {uid: float(row[name]) for uid, row in table.items()}
        _schedule(plot, view, values, {"row": number // 2 + 1, "col": number % 2 + 1}, first=number == 0)
    styled(plot, height=90 + 210 * rows)
    if not varying:
        plot.add_annotation(text="nothing has evolved yet but weights and activation", showarrow=False)
    return Figure(
        "schedules",
        "Schedules that evolution found",
        "The line is the value that the ancestors of the winner had, the band holds 80 % of the population: where the "
        "line leaves the band, selection found something, and where the band is narrow, all members agreed.",
        plot,
    )


def _schedule(plot: go.Figure, view: RunView, value: Mapping[str, float], cell: dict[str, int], *, first: bool) -> None:
    lineage = view.lineage
    x = [commit.train_steps for commit in lineage.commits]
    values = [[value[member.uid] for member in commit.members] for commit in lineage.commits]
    low, high = (np.array([np.quantile(v, q) for v in values]) for q in (0.1, 0.9))
    line = lineage.line(view.winner)
    band = {"x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "fill": "toself", "fillcolor": PALE, "mode": "lines"}
    plot.add_trace(
        go.Scatter(**band, line={"width": 0}, hoverinfo="skip", name="10–90 % of the population", showlegend=first),
        **cell,
    )
    plot.add_trace(
        go.Scatter(
            x=[lineage.steps[member.offspring.generation] for member in line],
            y=[value[member.uid] for member in line],
            mode="lines+markers",
            line={"color": BLUE, "width": 2},
            marker={"size": 4},
            name="line that won",
            showlegend=first,
        ),
        **cell,
    )
    everything = np.array(list(value.values()))
    if everything.min() > 0 and everything.max() / everything.min() > LINEAR_RATIO:
        plot.update_yaxes(type="log", **cell)


def _varying(rows: Sequence[Mapping[str, float | int | str]]) -> list[str]:
    """Return the numeric parameters that vary: genes first, then network sizes."""
    return [name for name in rows[0] if name != "activation" and len({row[name] for row in rows}) > 1]


def _point(lineage: Lineage, member: Member) -> Point:
    assert member.fitness is not None
    return lineage.steps[member.offspring.generation], member.fitness


def _line(view: RunView, name: str, width: int = 3, color: str = ORANGE) -> go.Scatter:
    points = [_point(view.lineage, m) for m in view.lineage.line(view.winner) if m.fitness is not None]
    x, y = zip(*points, strict=True)
    return go.Scatter(x=x, y=y, mode="lines", line={"color": color, "width": width}, name=name, hoverinfo="skip")


def _edges(points: list[Point | None], color: str, name: str, width: float) -> go.Scattergl:
    """Return many edges as one trace; None separates them."""
    x, y = ([None if point is None else point[axis] for point in points] for axis in (0, 1))
    return go.Scattergl(x=x, y=y, mode="lines", line={"color": color, "width": width}, name=name, hoverinfo="skip")


def _hover(lineage: Lineage, member: Member) -> str:
    offspring, gain, effect = member.offspring, lineage.gain(member), lineage.effect(member)
    mean = member.evaluation.other_mean_return if member.evaluation else None
    lines = [
        f"<b>{member.uid}</b> from {offspring.parent or 'no parent'}",
        describe_origin(offspring),
        f"fitness {member.fitness:.4g}",
        *([f"mean return {mean:.4g}"] if mean is not None else []),
        *([f"{effect.value:+.4g} against unmutated siblings"] if effect else []),
        *([f"{gain.value:+.4g} against its parent, a generation of training earlier"] if gain else []),
        *(f"{name} {value}" for name, value in written_genes(offspring.genome).items()),
    ]
    return "<br>".join(lines)


FIGURES: tuple[Callable[[RunView], Figure], ...] = (fitness, family_tree, schedules)
