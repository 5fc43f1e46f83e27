"""Collect failures of members during a run, for the JSON result."""

from collections import deque

from evo_core.records.chain import FailureDetail, Member
from flows.observers.observer import Observer
from tasks.runs.run_records import FailedMember

KEPT = 100
"""Maximum number of kept failures; the last ones."""


class Failures(Observer):
    """Observer that collects the failures of members."""

    def __init__(self) -> None:
        self.kept: deque[tuple[str, FailedMember]] = deque(maxlen=KEPT)

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Add a failure."""
        if member.failure is not None:
            self.kept.append((member.uid, FailedMember(failure=member.failure, detail=detail)))

    def as_dicts(self) -> list[dict[str, object]]:
        """List the failures as plain data."""
        return [as_dict(uid, failed) for uid, failed in self.kept]


def as_dict(uid: str, failed: FailedMember) -> dict[str, object]:
    """Convert a failure to plain data: member, reason, step, and details."""
    detail = failed.detail.model_dump(mode="json") if failed.detail else None
    return {"uid": uid, "reason": failed.failure.reason, "step": failed.failure.step, "detail": detail}
