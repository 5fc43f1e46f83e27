"""Findings of a verification."""

from dataclasses import dataclass, field
from typing import Literal

from evo_core.records.chain import Generation
from tasks.runs import layout
from tasks.runs.run_store import RunStore
from tasks.store import DeniedError, StoreError, UnavailableError

What = Literal[
    "run",
    "extension",
    "release",
    "commit",
    "confirmation",
    "training",
    "member",
    "timings",
    "replay",
    "blob",
    "orphan",
    "listing",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that is missing or damaged. `uid` names the member that it belongs to, if any."""

    what: What
    name: str
    problem: str
    generation: int = 0
    uid: str | None = None


@dataclass(slots=True)
class Verification:
    """What was looked at and found.

    `chain` holds the COMMITs that are whole, by generation; `last` is the last one; `gone` what was released.
    `absent` lists views that are not there, which is no damage: nothing depends on them.
    """

    checked: int = 0
    last: int = -1
    gone: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    absent: list[Finding] = field(default_factory=list)
    chain: dict[int, Generation] = field(default_factory=dict)


def problem_of(run: RunStore, error: StoreError) -> str:
    """Describe what is wrong with one object; raises when the store answers for no object at all."""
    if isinstance(error, DeniedError | UnavailableError):
        run.exists(layout.RUN)
    return str(error)
