"""The tracker interface: called with every finished generation."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation, Member
from tasks.runs.run_store import RunStore


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The run that a tracker shows.

    `founders` is the hash of COMMIT 0, which distinguishes it from other runs with its id. `directory` is the tracker's
    own for this run, and exists.
    """

    store: RunStore
    config: RunConfig
    founders: str
    directory: Path

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.store.run_id

    def shown(self, commit: Generation) -> Generation:
        """Return a COMMIT with the members of the population's slots alone, without archived ones."""
        return commit.model_copy(update={"members": commit.members[: self.config.population.size]})

    def complete(self, held: Mapping[str, Collection[int]]) -> int:
        """Return the last generation up to which slots hold all of their members' generations, by member_name."""
        if self.config.population.sizing == "fixed":
            return min(max(generations, default=0) for generations in held.values())
        last = 0
        for commit in self.store.commits():
            if any(commit.generation not in held[member_name(m.offspring.index)] for m in commit.members):
                break
            last = commit.generation
        return last

    def members(self) -> Iterator[Member]:
        """Iterate over all members that are shown, oldest generation first."""
        for commit in self.store.commits():
            yield from self.shown(commit).members

    def ends(self, commit: Generation) -> list[float]:
        """Return when each member's evaluation, else its training, ended, as a Unix timestamp; now where unknown."""
        timings, now = self.store.timings(commit.generation), datetime.now(UTC)
        known = timings.train | timings.evaluate
        return [(known[member.uid].end if member.uid in known else now).timestamp() for member in commit.members]


class Tracker(ABC):
    """A tracking tool. Only `log` is required.

    `variables` are the environment variables that decide where the tool keeps its runs: if they change, everything is
    logged again.
    """

    variables: ClassVar[tuple[str, ...]] = ()

    @property
    def shows_media(self) -> bool:
        """Return True if the tool accepts images and videos."""
        return type(self).media is not Tracker.media

    @abstractmethod
    def log(self, commit: Generation) -> None:
        """Called with every finished generation, once and in order."""
        ...

    def begin(self, run: TrackedRun) -> int:
        """Start or resume a run; return the last generation that the tool holds completely, 0 if none."""
        return 0

    def finish(self, ending: Ending) -> None:
        """Called with how the run ended, after its last generation; again if the run was extended."""

    def media(self, path: Path) -> None:
        """Called with an image or video of the run."""

    def close(self) -> None:
        """Release files and connections."""


def member_name(index: int) -> str:
    """Return the name of a member's slot, which is one series in every tool."""
    return f"member {index:02d}"
