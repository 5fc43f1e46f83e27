"""One self-contained HTML page that opens offline and makes no requests."""

from collections.abc import Sequence
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from flows.observers.terminal import describe_confirmation
from flows.report import cost, evolution
from flows.report import insights as findings
from flows.report.found_files import own_files
from flows.report.pareto import pareto
from flows.report.replays import replays
from flows.report.run_data import RunView
from flows.report.sentences import explain
from flows.report.style import Figure
from tasks.views.phrases import (
    describe_evaluation_steps,
    describe_mean_return,
    describe_objective,
    describe_population,
    describe_score,
    describe_target,
)
from tasks.views.trial_values import parameters

INTERACTION = {"responsive": True, "displaylogo": False, "scrollZoom": False}


def make_figures(view: RunView) -> list[Figure]:
    """Draw every figure of a run."""
    drawn = [draw(view) for draw in (*evolution.FIGURES, pareto, *findings.FIGURES, replays, *cost.FIGURES)]
    return [figure for figure in drawn if figure is not None]


def render_page(view: RunView, figures: Sequence[Figure]) -> str:
    """Write the page of a run."""
    story, files = explain(view.lineage, view.winner), own_files(view, view.winner)
    links = [(file, f"data:text/plain;charset=utf-8,{quote(file.content)}") for file in files]
    found = parameters_found(view)
    return _render("report.html", figures, view=view, facts=facts(view), story=story, found=found, links=links)


def render_comparison(
    title: str, tables: Sequence[tuple[str, list[str], list[list[str]]]], figures: Sequence[Figure]
) -> str:
    """Write the page of a comparison; a table is its title, its columns and its rows."""
    return _render("comparison.html", figures, title=title, tables=tables)


def _render(template: str, figures: Sequence[Figure], **content: object) -> str:
    environment = Environment(
        loader=PackageLoader("flows.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    plots = [
        figure.plot.to_html(full_html=False, include_plotlyjs=False, config=INTERACTION, div_id=figure.name)
        for figure in figures
    ]
    drawn = list(zip(figures, plots, strict=True))
    return environment.get_template(template).render(figures=drawn, plotlyjs=get_plotlyjs(), **content)


def facts(view: RunView) -> list[tuple[str, str]]:
    """List what a run is and how it ended, by name."""
    config, last = view.config, view.lineage.commits[-1]
    winner = view.lineage[view.winner].evaluation
    assert winner is not None
    objective, objectives = config.evaluation.objective, config.evaluation.objectives
    beside = describe_mean_return(winner.other_mean_return)
    beside += "".join(f", {describe_objective(one)}" for one in winner.objectives)
    listed = [
        ("environment", config.env.id),
        ("status", view.status),
        *([] if objective.is_mean_return else [("fitness", objective.oriented_title)]),
        *([("objectives", "; ".join(one.oriented_title for one in objectives))] if objectives else []),
        ("target", describe_target(config)),
        ("winner", f"{view.winner}, fitness {describe_score(winner.fitness, winner.fitness_sem)}{beside}"),
        ("generations", f"{last.generation} of {config.max_generations}"),
        ("population", describe_population(config)),
        ("training steps", f"{last.train_steps:,}"),
        ("evaluation", describe_evaluation_steps(last.eval_steps, last.train_steps)),
        ("seed", str(config.seed)),
    ]
    if view.confirmed is not None:
        place = [name for name, _ in listed].index("winner") + 1
        listed.insert(place, ("confirmed", describe_confirmation(view.confirmed).partition(": ")[2]))
    return listed


def parameters_found(view: RunView) -> list[tuple[str, str, str]]:
    """Compare the winner's parameters with those that its founder began with."""
    line = view.lineage.line(view.winner)
    before, after = (parameters(member.offspring.genome) for member in (line[0], line[-1]))
    return [(name, _shown(before[name]), _shown(after[name])) for name in before]


def _shown(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
