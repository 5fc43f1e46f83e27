"""A run's page in the Prefect UI: progress, a leaderboard of every generation, and a final summary.

A view of the store like the study, kept in Prefect's artifacts. Costs at most four requests per generation.
"""

import time
from uuid import UUID

from evo_core.evaluation.run_end import Ending
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Generation, record_hash
from flows.observers.observer import observer
from flows.settings import Settings
from flows.views.database_faults import tolerated
from flows.views.leaderboard import Location, describe_leaderboard, describe_progress, leaderboard, summary
from tasks.logs.redaction import concealed
from tasks.runs.failed_members import details
from tasks.runs.ref import RunRef
from tasks.views.artifacts import (
    Kind,
    add_markdown,
    add_progress,
    add_table,
    artifact_key,
    belongs_here,
    move_progress,
    newest,
)
from tasks.views.view import View

INTERVAL_S = 10.0
"""Minimum interval between updates of the progress bar, at most two per generation."""

FOUNDERS = "founders"
"""Metadata key for the hash of COMMIT 0, which identifies the run of an artifact: runs of a server share artifact
keys."""


class RunPage(View):
    """View that updates the artifacts of a run; artifacts of an earlier flow run are not written again. Only the
    progress bar belongs to one flow run: one that continues the run has its own.
    """

    def __init__(self, run: RunRef, settings: Settings) -> None:
        self._run, self._config, self._settings = run.open(), run.config, settings
        self._mark = {FOUNDERS: record_hash(self._run.commit(0))}
        self._next = int(self._newest("leaderboard").get("generation", "0")) + 1
        bar = newest(self._key("progress"))
        ours = bar is not None and bar.metadata_ == self._mark and belongs_here(bar)
        self._bar: UUID | None = bar.id if bar is not None and ours else None
        self._head: Generation | None = None
        self._shown, self._moved = 0, 0.0

    def catch_up(self, head: Generation) -> int:
        """Add missing leaderboards up to a COMMIT, and update the progress bar; return the number added."""
        self._head = head
        self._move(head.train_steps)
        added = 0
        for commit in self._run.commits_from(self._next, head):
            add_table(
                self._key("leaderboard"),
                leaderboard(commit, details(self._run, commit.members)),
                describe_leaderboard(commit, self._config),
                {**self._mark, "generation": str(commit.generation)},
            )
            added, self._next = added + 1, commit.generation + 1
        return added

    def advance(self, steps: int) -> None:
        """Update the progress bar if more than a third of a generation was trained since its last update."""
        late_enough = time.monotonic() - self._moved >= INTERVAL_S
        if late_enough and self._head is not None and steps - self._shown > self._config.least_generation_steps / 3:
            self._move(steps)

    def finish(self, ending: Ending) -> None:
        """Write the summary, unless it exists."""
        assert self._head is not None
        mark = {**self._mark, "head": record_hash(self._head), "delivered": ending.elite.uid, "status": ending.status}
        if self._newest("summary") == mark:
            return
        config = self._config
        lineage = Lineage(self._run.commits(), config.evaluation.objective.sign)
        text = summary(self._run.run_id, ending, config, lineage, self._places(), self._store())
        add_markdown(self._key("summary"), text, f"How {self._run.run_id} ended", mark)

    def _move(self, steps: int) -> None:
        assert self._head is not None
        total = self._config.planned_steps
        percent = min(100.0, 100.0 * steps / total)
        generation = self._head.generation + (steps > self._head.train_steps)
        text = describe_progress(steps, self._config, generation)
        if self._bar is None:
            self._bar = add_progress(self._key("progress"), percent, text, self._mark)
        else:
            move_progress(self._bar, percent, text)
        self._shown, self._moved = steps, time.monotonic()

    def _newest(self, kind: Kind) -> dict[str, str]:
        """Return the newest version of an artifact, if it belongs to this run."""
        found = newest(self._key(kind))
        known = dict(found.metadata_ or {}) if found is not None else {}
        return known if known.get(FOUNDERS) == self._mark[FOUNDERS] else {}

    def _key(self, kind: Kind) -> str:
        return artifact_key(kind, self._run.run_id)

    def _places(self) -> list[Location]:
        """Return the locations of store, study and trackers, without credentials."""
        run_id, settings = self._run.run_id, self._settings
        page = settings.store_page and settings.store_page.replace("{run}", run_id)
        places = [
            Location("store", f"{self._store()}/{run_id}", page),
            Location("study", concealed(settings.study_url), self._study_page()),
        ]
        return [*places, *([Location("tracking", str(settings.tracking_directory))] if settings.trackers else [])]

    def _study_page(self) -> str | None:
        """Return the study's page in optuna-dashboard, which numbers studies; None if it cannot be determined."""
        if (page := self._settings.study_page) is not None:
            from tasks.views.study import study_number  # imports Optuna

            with tolerated(lambda reason: observer().warned(f"the summary has no link to the study: {reason}")):
                return page.replace("{study}", str(study_number(self._settings.study_url, self._run.run_id)))
        return None

    def _store(self) -> str:
        return concealed(self._settings.store_url)
