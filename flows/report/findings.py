"""Figures of what to learn from it: mutations, importance, health of selection."""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evo_core.lineage.health import Health, selection_health
from evo_core.lineage.importance import hyperparameter_importance
from evo_core.lineage.worth import Worth, by_kind, by_part, mutation_worth
from evo_core.seeding import POPULATION, Purpose, stream
from flows.report.style import BLUE, GREEN, GREY, INK, LABELS, ORANGE, PURPLE, RED, Figure, styled
from flows.report.view import RunView

PARTS_SHOWN = 16


def worth(view: RunView) -> Figure:
    """What each kind of mutation, and each mutated part, was worth."""
    rng = resampling(view)
    kinds = mutation_worth(view.lineage, rng, by_kind)
    parts = [w for w in mutation_worth(view.lineage, rng, by_part) if " " in w.name][:PARTS_SHOWN]
    plot = go.Figure(_intervals(kinds, [LABELS[w.name] for w in kinds], INK, "kinds"))
    plot.add_trace(_intervals(parts, [w.name.partition(" ")[2] for w in parts], BLUE, "parts"))
    plot.add_vline(0, line_color=GREY)
    plot.update_yaxes(autorange="reversed")
    styled(plot, "fitness above unmutated siblings", height=140 + 26 * (len(kinds) + len(parts)))
    if not kinds:
        plot.add_annotation(text="no mutated member has an unmutated sibling yet", showarrow=False)
    return Figure(
        "worth",
        "What each kind of mutation was worth",
        "Dots are the mean difference in fitness between mutated members and unmutated ones of the same parent (with "
        "counts), bars 95 % bootstrap intervals over families: a bar that crosses zero is no evidence either way.",
        plot,
    )


def importance(view: RunView) -> Figure:
    """Which hyperparameters explain who gained on their parent."""
    found = hyperparameter_importance(view.lineage, view.config, resampling(view))[::-1]
    names = [f"{i.name} ({i.values} values)" for i in found]
    plot = go.Figure(
        go.Bar(
            y=names,
            x=[i.share for i in found],
            orientation="h",
            marker_color=[BLUE if i.share > i.chance else GREY for i in found],
            name="explained by the value",
        )
    )
    plot.add_trace(
        go.Scatter(
            y=names,
            x=[i.chance for i in found],
            mode="markers",
            marker={"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": RED}},
            name="95 % of what chance gives",
        )
    )
    styled(plot, "share of the variance of gains", height=160 + 34 * len(found))
    if not found:
        plot.add_annotation(text="no hyperparameter evolves in this run, or no member has a parent", showarrow=False)
    return Figure(
        "importance",
        "Importance of hyperparameters",
        "Bars say how much of the members' gains over their parents a hyperparameter's value explains; only those that "
        "pass their red mark (blue) explain more than chance would, given how values are inherited together.",
        plot,
    )


def health(view: RunView) -> Figure:
    """How selection worked from generation to generation."""
    found = selection_health(view.lineage, view.config)
    panels: tuple[tuple[str, Callable[[Health], float | None], str], ...] = (
        ("founders with descendants", lambda h: h.founders, BLUE),
        ("effective number of parents", lambda h: h.effective_parents, GREEN),
        ("diversity of genes", lambda h: h.diversity, PURPLE),
        ("rank correlation parent – child", lambda h: h.heritability, ORANGE),
    )
    plot = make_subplots(2, 2, subplot_titles=[title for title, *_ in panels], vertical_spacing=0.18)
    for number, (title, read, color) in enumerate(panels):
        plot.add_trace(
            go.Scatter(
                x=[h.generation for h in found],
                y=[read(h) for h in found],
                mode="lines+markers",
                line={"color": color},
                name=title,
                showlegend=False,
            ),
            row=number // 2 + 1,
            col=number % 2 + 1,
        )
    return Figure(
        "health",
        "Health of selection",
        "By generation: few founders or parents and little diversity early on mean that selection is greedy; a rank "
        "correlation near zero means that it chose by luck, and that more evaluation episodes would help.",
        styled(plot, height=460),
    )


def _intervals(worths: Sequence[Worth], names: Sequence[str], color: str, title: str) -> go.Scatter:
    up = [w.ci95[1] - w.mean if w.ci95 else 0 for w in worths]
    down = [w.mean - w.ci95[0] if w.ci95 else 0 for w in worths]
    return go.Scatter(
        x=[w.mean for w in worths],
        y=[f"{name} ({w.count})" for w, name in zip(worths, names, strict=True)],
        error_x={"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 2, "width": 6},
        mode="markers",
        marker={"size": 10, "color": color},
        name=title,
        text=[f"{w.count} offspring of {w.families} parents, {w.failed} more failed" for w in worths],
    )


def resampling(view: RunView) -> np.random.Generator:
    """Resample the same way whenever the same run is reported."""
    return stream(view.config.seed, len(view.lineage.commits), POPULATION, Purpose.RESAMPLE)


FIGURES: tuple[Callable[[RunView], Figure], ...] = (worth, importance, health)
