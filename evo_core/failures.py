"""How a member fails: alone, with a reason from a closed list, and without stopping the run."""

from evo_core.records import Failure, FailureReason


class MemberFailure(Exception):
    """Raised where a member cannot go on.

    `step` counts the environment steps of the phase so far. `detail` is free text for people: it is logged, and
    kept out of everything that is hashed.
    """

    def __init__(self, reason: FailureReason, step: int, detail: str) -> None:
        super().__init__(f"{reason} at step {step}: {detail}")
        self.reason: FailureReason = reason
        self.step = step
        self.detail = detail

    def record(self) -> Failure:
        """Keep reason and step."""
        return Failure(reason=self.reason, step=self.step)
