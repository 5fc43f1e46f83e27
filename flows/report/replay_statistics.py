"""Statistics of replays: how much of a winner's fitness its schedule reproduces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evo_core.evaluation.intervals import mean_interval
from evo_core.records.chain import Confirmation, Replay, ReplayKind
from tasks.views.phrases import describe_interval, describe_number


@dataclass(frozen=True, slots=True)
class Transfer:
    """Replays of one kind: their mean returns on fresh seeds, one per replay, and the interval of their mean.

    `as_good`: how many reached the lower end of the winner's own interval; None where that was not confirmed.
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


def transfer_of(replays: Sequence[Replay], winner: Confirmation | None) -> Transfer:
    """Summarize replays of one kind."""
    means = tuple(float(np.mean(replay.returns)) for replay in replays if replay.failure is None)
    return Transfer(
        kind=replays[0].kind,
        means=means,
        mean=float(np.mean(means)) if means else None,
        ci95=mean_interval(np.array(means)),
        as_good=sum(mean >= winner.ci95[0] for mean in means) if winner is not None else None,
        failed=len(replays) - len(means),
    )
