"""The tracker interface: called with every finished generation."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Protocol

from evo_core.config.run_config import RunConfig
from evo_core.records.chain import Generation, Member
from tasks.runs.run_store import RunStore
from tasks.views.view import Ending


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The run that a tracker shows. `founders` is the hash of COMMIT 0, which tells it from others of its id.

    `directory` is the tracker's own for this run, and exists.
    """

    store: RunStore
    config: RunConfig
    founders: str
    directory: Path

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.store.run_id

    def members(self) -> Iterator[Member]:
        """Read every member that is committed, oldest generation first."""
        for commit in self.store.commits():
            yield from commit.members

    def ends(self, commit: Generation) -> list[float]:
        """Tell when each member's evaluation, else its training, ended, in seconds; now where that is unknown."""
        timings, now = self.store.timings(commit.generation), datetime.now(UTC)
        known = timings.train | timings.evaluate
        return [(known[member.uid].end if member.uid in known else now).timestamp() for member in commit.members]


class Tracker(Protocol):
    """One tool. Only `log` is required.

    `variables` are the environment variables that decide where the tool keeps its runs: under other ones it is told
    everything again.
    """

    variables: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def log(self, commit: Generation) -> None:
        """Hear of a finished generation: each one once, in order."""
        ...

    def begin(self, run: TrackedRun) -> int:
        """Begin a run, or go on with it; return the last generation that the tool holds whole, 0 when none."""
        return 0

    def finish(self, ending: Ending) -> None:
        """Hear how the run ended, after its last generation; maybe again, when the run was extended."""

    def media(self, path: Path) -> None:
        """Hear of a picture or video of the run."""

    def close(self) -> None:
        """Let go of files and connections."""


def member_name(index: int) -> str:
    """Name a member's slot, whose line is one series in every tool."""
    return f"member {index:02d}"
