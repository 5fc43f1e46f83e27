"""Statistics of replays: how much of a winner's fitness its schedule reproduces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evo_core.config.objectives import Objective
from evo_core.evaluation.aggregation import aggregate
from evo_core.evaluation.intervals import mean_interval
from evo_core.records.chain import Confirmation
from evo_core.records.replay_record import Replay, ReplayKind
from tasks.views.phrases import describe_interval, describe_number


@dataclass(frozen=True, slots=True)
class Transfer:
    """Replays of one kind: their fitnesses on fresh seeds, one per replay, and the interval of their mean.

    `as_good`: how many reached the worse end of the winner's own interval; None where that was not confirmed.
    """

    kind: ReplayKind
    means: tuple[float, ...]
    mean: float | None
    ci95: tuple[float, float] | None
    as_good: int | None
    failed: int

    def describe(self, winner: Confirmation | None) -> str:
        """Return the result as a sentence."""
        what = "along its schedule" if self.kind == "schedule" else "with its final hyperparameters and network"
        agents = f"{len(self.means) + self.failed} fresh agents trained {what}"
        if self.mean is None:
            return f"All {agents} failed."
        interval = f" (95 % CI {describe_interval(self.ci95, self.mean)})" if self.ci95 else ""
        said = f"{agents} reached {describe_number(self.mean)}{interval}"
        if winner is not None:
            said += f", the winner itself {describe_number(winner.mean)}; {self.as_good} of them were as good"
        return said + (f"; {self.failed} failed" if self.failed else "") + "."


def transfer_of(replays: Sequence[Replay], winner: Confirmation | None, objective: Objective) -> Transfer:
    """Summarize replays of one kind."""
    means = tuple(aggregate(np.array(replay.returns), objective) for replay in replays if replay.failure is None)
    worse = None if winner is None else winner.ci95[0 if objective.sign > 0 else 1]
    return Transfer(
        kind=replays[0].kind,
        means=means,
        mean=float(np.mean(means)) if means else None,
        ci95=mean_interval(np.array(means)),
        as_good=None if worse is None else sum(objective.reaches(mean, worse) for mean in means),
        failed=len(replays) - len(means),
    )
