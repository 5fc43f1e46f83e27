"""Figure of the Pareto front: what more fitness costs in the further objectives."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evo_core.records.chain import EliteRef, Evaluation
from flows.report.evolution import LINEAR_RATIO
from flows.report.run_data import RunView
from flows.report.style import BLUE, GRAY, ORANGE, Figure, styled
from tasks.views.phrases import describe_objective, describe_score, fitness_name


def pareto(view: RunView) -> Figure | None:
    """Figure of all members by fitness and every further objective, with the front; None without further ones."""
    objectives = view.config.evaluation.objectives
    if not objectives:
        return None
    front = view.lineage.commits[-1].front
    plot = make_subplots(rows=len(objectives), cols=1, vertical_spacing=0.24 / len(objectives))
    for row in range(len(objectives)):
        for trace in _panel(view, front, row):
            trace.showlegend = row == 0
            plot.add_trace(trace, row=row + 1, col=1)
    styled(plot, height=110 + 320 * len(objectives))
    for row, objective in enumerate(objectives):
        plot.update_xaxes(title_text=objective.oriented_title, row=row + 1, col=1)
        plot.update_yaxes(title_text=fitness_name(view.config), row=row + 1, col=1)
        values = [one.objectives[row].value for _, one in _trained(view)]
        if min(values) > 0 and max(values) / min(values) > LINEAR_RATIO:
            plot.update_xaxes(type="log", row=row + 1, col=1)
    return Figure(
        "pareto",
        "Pareto front",
        f"Each dot is a member; the {len(front)} on the front (orange) are those so far that no other exceeds in one "
        f"objective without losing in another, and the star is the delivered one ({_rule(view)}). Values are of few "
        "episodes, so the ends of a front are optimistic.",
        plot,
    )


def _rule(view: RunView) -> str:
    """Return why the delivered member is the delivered one."""
    if view.status == "target reached":
        return "the elite that reached the target"
    return f"evaluation.deliver: {view.config.evaluation.deliver}"


def _panel(view: RunView, front: Sequence[EliteRef], number: int) -> list[go.Scatter]:
    """Return the traces of one further objective: all members, the front, and the delivered member."""
    ordered = sorted(front, key=lambda elite: (elite.objectives[number].value, elite.fitness))
    winner = view.lineage[view.winner].evaluation
    delivered = [(view.winner, winner)] if winner is not None else []
    return [
        _points(_trained(view), number, "members", {"size": 5, "color": GRAY}),
        _points([(one.uid, one) for one in ordered], number, "front", {"size": 9, "color": ORANGE}),
        _points(delivered, number, "delivered", {"size": 16, "color": BLUE, "symbol": "star"}),
    ]


def _trained(view: RunView) -> list[tuple[str, Evaluation]]:
    """Return the evaluations of all members by uid, those of archived ones excepted, which were judged before."""
    members = [member for member in view.lineage.members.values() if not member.offspring.archived]
    return [(member.uid, member.evaluation) for member in members if member.evaluation is not None]


def _points(
    named: Sequence[tuple[str, Evaluation | EliteRef]], number: int, name: str, marker: dict[str, object]
) -> go.Scatter:
    return go.Scatter(
        x=[one.objectives[number].value for _, one in named],
        y=[one.fitness for _, one in named],
        mode="markers",
        marker=marker,
        name=name,
        text=[_hover(uid, one) for uid, one in named],
        hoverinfo="text",
    )


def _hover(uid: str, one: Evaluation | EliteRef) -> str:
    lines = [f"<b>{uid}</b>", f"fitness {describe_score(one.fitness, one.fitness_sem)}"]
    return "<br>".join([*lines, *map(describe_objective, one.objectives)])
