"""Findings of a verification."""

from dataclasses import dataclass, field
from typing import Literal

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
    """Result of a verification.

    `checked` counts the objects checked. `intact` are the generations whose COMMITs are; `last` is the last generation;
    `gone` lists released checkpoints, `named` are all that COMMITs reference; `sizes` holds how many members a
    generation has, where that is known. `absent` lists missing objects that are no damage: nothing depends on them.
    """

    checked: int = 0
    last: int = -1
    gone: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    absent: list[Finding] = field(default_factory=list)
    intact: set[int] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    sizes: dict[int, int] = field(default_factory=dict)

    def add(self, part: "Verification") -> None:
        """Add the result of a part of the run."""
        self.checked += part.checked
        self.sizes |= part.sizes
        for name in ("gone", "findings", "absent"):
            getattr(self, name).extend(getattr(part, name))
        self.intact |= part.intact
        self.named |= part.named


def problem_of(run: RunStore, error: StoreError) -> str:
    """Describe what is wrong with one object; raise if the store fails for every object."""
    if isinstance(error, DeniedError | UnavailableError):
        run.exists(layout.RUN)
    return str(error)
