"""Recorder that brings a tracker up to date with the store, without duplicates."""

import os
from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.genome.architecture import Record
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import TRACKER
from evo_core.records.canonical import canonical_json, sha256
from evo_core.records.chain import Generation, record_hash
from tasks.runs.run_store import RunStore
from tasks.views.trackers import TRACKERS, make_tracker
from tasks.views.trackers.tracker import TrackedRun, Tracker
from tasks.views.view import View

CLAIM = "evolve.json"


class ForeignTracking(RuntimeError):
    """A tracker's directory with this run's id that shows another run."""


class Claim(Record):
    """Owner of a tracker's directory, by the hash of COMMIT 0; and the COMMIT and place for which it is complete.

    `package`: the installed package of a plugin's tracker, with its version.
    """

    founders: str
    finished: str | None = None
    place: str | None = None
    package: str | None = Field(default=None, exclude_if=lambda value: value is None)


class TrackRecorder(View):
    """Recorder that brings a tracker up to date with a run. The tool is opened only if something is missing."""

    def __init__(
        self, name: str, run: RunStore, config: RunConfig, directory: Path, packages: Collection[str] = ()
    ) -> None:
        self._tracker, self._open = make_tracker(name, packages), False
        self._run, self._directory = run, directory / name.replace(":", ".") / run.run_id
        founders = record_hash(run.commit(0))
        self._new = Claim(founders=founders, package=None if name in TRACKERS else package_of(TRACKER, name))
        self._claim = self._read_claim() or self._new
        if self._claim.founders != founders:
            raise ForeignTracking(
                f"{self._directory} shows another run of the id {run.run_id}; move it away, or delete it"
            )
        self._tracked = TrackedRun(run, config, founders, self._directory)
        self._next = 1
        self._head: str | None = None

    def catch_up(self, head: Generation) -> int:
        """Log every generation that the tracker lacks up to a COMMIT; return how many."""
        self._head = record_hash(head)
        if self._complete():
            return 0
        tracker, told = self._opened(), 0
        for commit in self._run.commits_from(self._next, head):
            tracker.log(self._tracked.shown(commit))
            told, self._next = told + 1, commit.generation + 1
        return told

    def finish(self, ending: Ending) -> None:
        """Log how the run ended, unless the tracker is complete."""
        if self._complete():
            return
        self._opened().finish(ending)
        self.close()
        self._write_claim(self._new.model_copy(update={"finished": self._head, "place": self._place()}))

    @property
    def shows_media(self) -> bool:
        """Return True if the tool accepts images and videos."""
        return self._tracker.shows_media

    def show(self, head: Generation, path: Path, ending: Ending | None) -> None:
        """Add an image or video to the tool's run, which is brought up to date first."""
        self._claim = self._new  # reopens a complete one
        self.catch_up(head)
        self._opened().media(path)
        if ending is not None:
            self.finish(ending)
        self.close()

    def close(self) -> None:
        """Close the tool; later calls open it again."""
        if self._open:
            self._open = False
            self._tracker.close()

    def _opened(self) -> Tracker:
        if not self._open:
            self._run.require_in_place()  # next to a local store's runs: must not create the store's directory
            self._directory.mkdir(parents=True, exist_ok=True)
            self._write_claim(self._new)
            self._open = True
            self._next = self._tracker.begin(self._tracked) + 1
        return self._tracker

    def _complete(self) -> bool:
        return self._head is not None and (self._claim.finished, self._claim.place) == (self._head, self._place())

    def _place(self) -> str:
        """Return a hash of where the tool keeps its runs, because addresses may hold credentials."""
        return sha256(canonical_json({name: os.environ.get(name) for name in self._tracker.variables}))

    def _read_claim(self) -> Claim | None:
        try:
            return Claim.model_validate_json((self._directory / CLAIM).read_bytes())
        except FileNotFoundError:
            return None

    def _write_claim(self, claim: Claim) -> None:
        self._claim = claim
        path = self._directory / CLAIM
        path.with_suffix(".tmp").write_bytes(canonical_json(claim))
        path.with_suffix(".tmp").replace(path)
