"""Figures of insights: effect of mutations, hyperparameter importance, health of selection."""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evo_core.lineage.health import Health, selection_health
from evo_core.lineage.importance import hyperparameter_importance
from evo_core.lineage.worth import Worth, by_kind, by_part, mutation_worth
from evo_core.seeding import POPULATION, Purpose, stream
from flows.report.run_data import RunView
from flows.report.style import BLUE, GRAY, GREEN, INK, LABELS, ORANGE, PURPLE, RED, Figure, styled

PARTS_SHOWN = 16


def worth(view: RunView) -> Figure:
    """Figure of the effect of each kind of mutation and of each mutated part."""
    kinds = mutation_worth(view.lineage, by_kind)
    parts = [w for w in mutation_worth(view.lineage, by_part) if w.name.startswith(("rl_hp ", "architecture "))]
    plot = go.Figure()
    for found, color, title in ((kinds, INK, "kinds"), (parts[:PARTS_SHOWN], BLUE, "parts")):
        plot.add_trace(_intervals(found, color, title))
    plot.add_vline(0, line_color=GRAY)
    plot.update_yaxes(autorange="reversed")
    gained = "fitness gained" if view.lineage.sign > 0 else "difference in fitness, less is better"
    styled(plot, gained, height=140 + 26 * (len(kinds) + len(parts[:PARTS_SHOWN])))
    if not any(w.count for w in kinds):
        plot.add_annotation(text="no mutated member has an unmutated sibling yet", showarrow=False)
    return Figure(
        "worth",
        "What each kind of mutation was worth",
        "Dots are the mean difference in fitness between mutated members and unmutated ones of the same parent (with "
        "counts), bars 95 % intervals over families: a bar that crosses zero is no evidence either way, and a dot "
        "without a bar has fewer than three families.",
        plot,
    )


def importance(view: RunView) -> Figure:
    """Figure of the hyperparameters' importance for differences between siblings."""
    found = hyperparameter_importance(view.lineage, view.config, resampling(view))[::-1]
    names = [f"{i.name} ({i.values} values)" for i in found]
    plot = go.Figure(
        go.Bar(
            y=names,
            x=[i.share for i in found],
            orientation="h",
            marker_color=[BLUE if i.share > i.chance else GRAY for i in found],
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
    styled(plot, "share of variance", height=160 + 34 * len(found))
    if not found:
        plot.add_annotation(text="no hyperparameter evolves in this run, or no member has a sibling", showarrow=False)
    return Figure(
        "importance",
        "Importance of hyperparameters",
        "Bars say how much of the differences between siblings a hyperparameter's value explains; only those that pass "
        "their red mark (blue) explain more than chance does in 19 of 20 cases, and gray ones may matter unseen.",
        plot,
    )


def health(view: RunView) -> Figure:
    """Figure of the health of selection by generation."""
    found = selection_health(view.lineage, view.config)
    panels: tuple[tuple[str, Callable[[Health], float | None], str], ...] = (
        ("founders with descendants", lambda h: h.founders, BLUE),
        ("effective number of parents", lambda h: h.effective_parents, GREEN),
        ("diversity of genes", lambda h: h.diversity, PURPLE),
        ("rank correlation parent – child", lambda h: h.heritability, ORANGE),
    )
    plot = make_subplots(len(panels), 1, subplot_titles=[title for title, *_ in panels], shared_xaxes=True)
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
            row=number + 1,
            col=1,
        )
    return Figure(
        "health",
        "Health of selection",
        "By generation: few founders or parents and little diversity early on mean that selection is greedy; a rank "
        "correlation near zero means that it chose by luck, and that more evaluation episodes would help.",
        styled(plot, height=640),
    )


def _intervals(worths: Sequence[Worth], color: str, title: str) -> go.Scatter:
    spreads = [(w.mean - w.ci95[0], w.ci95[1] - w.mean) if w.mean is not None and w.ci95 else (0, 0) for w in worths]
    return go.Scatter(
        x=[w.mean for w in worths],
        y=[_row(w) for w in worths],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [up for _, up in spreads],
            "arrayminus": [down for down, _ in spreads],
            "thickness": 2,
            "width": 6,
        },
        mode="markers",
        marker={"size": 10, "color": color},
        name=title,
        text=[f"{w.count} offspring of {w.families} parents, {w.failed} more failed" for w in worths],
    )


def _row(worth: Worth) -> str:
    name = LABELS.get(worth.name) or worth.name.partition(" ")[2]
    return f"{name} ({worth.count}{f', {worth.failed} failed' if worth.failed else ''})"


def resampling(view: RunView) -> np.random.Generator:
    """Return a generator that is the same for every report of a run."""
    return stream(view.config.seed, len(view.lineage.commits), POPULATION, Purpose.RESAMPLE)


FIGURES: tuple[Callable[[RunView], Figure], ...] = (worth, importance, health)
