"""The layout and caption of figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle

import plotly.graph_objects as go

# Okabe and Ito's palette, which color-blind readers can tell apart
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
GRAY, PALE, INK = "#9a9a9a", "rgba(150,150,150,0.35)", "#222222"
KINDS = {"none": INK, "rl_hp": BLUE, "architecture": ORANGE, "parameters": GREEN, "activation": PURPLE}
"""Color of every kind of mutation."""

LABELS = {
    "none": "unmutated",
    "rl_hp": "hyperparameter",
    "architecture": "architecture",
    "parameters": "weights",
    "activation": "activation",
}
OTHERS = (SKY, RED, YELLOW)
"""Colors of plugins' mutations, again and again."""

STEPS = "training steps (population)"


def colors_of(kinds: Iterable[str]) -> dict[str, str]:
    """Return a color for every kind of mutation, those of plugins in alphabetical order."""
    plugins = sorted(set(kinds) - KINDS.keys())
    return {**KINDS, **dict(zip(plugins, cycle(OTHERS), strict=False))}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, its title, and a sentence on how to read it. `name` is the name of its file."""

    name: str
    title: str
    reading: str
    plot: go.Figure


def titled(figure: Figure, height: int | None = None) -> go.Figure:
    """Return a figure with its title, for use outside of the page; `height` replaces its own."""
    height = height or figure.plot.layout.height
    return go.Figure(figure.plot).update_layout(
        title={"text": figure.title, "yref": "container", "y": 1 - 14 / height, "yanchor": "top"},
        height=height,
        legend_y=1 - 40 / height,
        margin_t=110,
    )


def styled(plot: go.Figure, x: str = "", y: str = "", height: int = 420) -> go.Figure:
    """Apply the common layout to a figure."""
    plot.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 70, "b": 10},
        legend={"orientation": "h", "yref": "container", "yanchor": "top", "y": 1, "xanchor": "left", "x": 0},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        hovermode="closest",
    )
    plot.update_xaxes(automargin=True, title_text=x or None)
    plot.update_yaxes(automargin=True, title_text=y or None)
    return plot
