"""Figure of the replays: does the schedule carry over to fresh agents?"""

import plotly.graph_objects as go

from flows.report.replay_statistics import transfer_of
from flows.report.run_data import RunView
from flows.report.style import BLUE, GRAY, ORANGE, PALE, Figure, styled

NAMES = {"schedule": "along the schedule", "fixed": "final hyperparameters fixed"}


def replays(view: RunView) -> Figure | None:
    """Figure of every replay's fitness and the winner's; None when there are no replays."""
    made = {kind: found for kind, found in view.replays.items() if found}
    if not made:
        return None
    plot, said, objective = go.Figure(), list[str](), view.config.evaluation.objective
    for (kind, found), color in zip(made.items(), (BLUE, GRAY), strict=False):
        transfer = transfer_of(found, view.confirmed, objective)
        said.append(transfer.describe(view.confirmed))
        plot.add_trace(
            go.Box(
                x=transfer.means,
                name=NAMES[kind],
                boxpoints="all",
                jitter=0.4,
                pointpos=0,
                marker={"color": color, "size": 9},
                line={"width": 1},
                fillcolor="rgba(0,0,0,0)",
                showlegend=False,
            )
        )
    if view.confirmed is not None:
        plot.add_vrect(*view.confirmed.ci95, fillcolor=PALE, line_width=0)
        plot.add_vline(view.confirmed.mean, line_color=ORANGE, line_width=3, annotation_text="winner")
    return Figure(
        "replays",
        "Schedule or luck",
        f"Each dot is a fresh agent on its own seed: near the winner's line means that the schedule did the work, far "
        f"below it that the winner was lucky. {' '.join(said)}",
        styled(plot, f"{objective.oriented_title} on fresh seeds", height=180 + 80 * len(made)),
    )
