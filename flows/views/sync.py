"""Keep the views of a run (Optuna study, trackers) up to date beside training; their failures stop nothing."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Self

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation
from flows.observers.observer import observer
from flows.outcome import RunSummary
from flows.settings import Settings
from flows.views.database_faults import tolerated
from flows.views.view_process import ViewProcess
from tasks.runs.ref import RunRef
from tasks.views.trackers.recorder import TrackRecorder
from tasks.views.view import View

LAST_WAIT_S = 120.0
"""Time limit of a view at the end of a run."""

Record = Callable[[str, View, Generation], int]
"""Function that updates a named view to a COMMIT."""


class ViewSync:
    """Updates one view in a separate thread. `behind` describes what the view lacks, or is None."""

    def __init__(self, name: str, make: Callable[[], View], record: Record) -> None:
        self._name, self._make, self._record = name, make, record
        self._view: View | None = None
        self._changed = threading.Condition()
        self._wanted: Generation | None = None
        self._steps: int | None = None
        self._ending: Ending | None = None
        self._closed = False
        self._last_warning: str | None = None
        self.behind: str | None = None
        # daemonic, so that a hanging tool cannot keep the process alive; in this run's Prefect context
        self._thread = threading.Thread(target=copy_context().run, args=(self._update_until_end,), daemon=True)
        self._thread.start()

    def record(self, head: Generation) -> None:
        """Request an update of the view to a COMMIT, without blocking."""
        with self._changed:
            self._wanted = head
            self._changed.notify()

    def advance(self, steps: int) -> None:
        """Update the number of trained steps, without blocking; a view that is not open yet ignores it."""
        with self._changed:
            self._steps = steps
            self._changed.notify()

    def end(self, ending: Ending | None = None) -> None:
        """Announce the end of updates, and the outcome if the run ended. Does not block; only the first call counts."""
        with self._changed:
            if not self._closed:
                self._closed, self._ending = True, ending
                self._changed.notify()

    def wait(self, wait_s: float = LAST_WAIT_S) -> None:
        """Wait, after `end`, until all requested updates were tried; `behind` is final then."""
        self._thread.join(wait_s)
        if self._thread.is_alive():
            self.behind = f"{self._name} has not answered for {wait_s:.0f} s"
            observer().warned(self.behind)

    def _update_until_end(self) -> None:
        while (news := self._next()) is not None:
            if isinstance(news, Generation):
                self._try(
                    f"{self._name} lacks generations up to {news.generation}", partial(self._catch_up_view, head=news)
                )
            elif self._view is not None:
                self._try(f"{self._name} lacks the current progress", partial(_advance, steps=news))
        if (ending := self._ending) is not None and self.behind is None:
            self._try(f"{self._name} lacks the outcome of the run", lambda view: view.finish(ending))
        self._close_view()

    def _next(self) -> Generation | int | None:
        """Wait for the newest requested COMMIT, else the newest steps; return None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: (self._wanted, self._steps) != (None, None) or self._closed)
            head, steps, self._wanted, self._steps = self._wanted, self._steps, None, None
            return head if head is not None or self._closed else steps

    def _try(self, lacking: str, step: Callable[[View], object]) -> None:
        """Run a step; a view that fails causes one warning and is reopened the next time."""
        self.behind = lacking
        faults: list[str] = []
        with tolerated(faults.append):
            if self._view is None:
                self._view = self._make()
            step(self._view)
            self.behind = self._last_warning = None
        for reason in faults:
            self._close_view()
            self.behind = f"{lacking}: {reason}"
            if reason != self._last_warning:
                observer().warned(self.behind)
            self._last_warning = reason

    def _catch_up_view(self, view: View, head: Generation) -> None:
        self._record(self._name, view, head)

    def _close_view(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            with tolerated(lambda reason: observer().warned(f"{self._name} was not closed: {reason}")):
                view.close()


class Views:
    """All views of a run.

    `page`, of a flow run, shows it in the Prefect UI. It alone receives steps, and is not reported as behind, because
    it cannot be updated outside of that flow run. With `apart` the study is recorded by a process of its own.
    """

    def __init__(
        self,
        run: RunRef,
        settings: Settings,
        record: Record,
        page: Callable[[], View] | None = None,
        *,
        apart: bool = False,
    ) -> None:
        study: Callable[[], View] = partial(_open_study, run, settings.study_url)
        if apart:
            study = partial(ViewProcess, study, forked=settings.engine == "local")
        makers = {"the study": study}
        for name in settings.trackers:
            makers[f"the {name} tracker"] = partial(_track, name, run, settings)
        self._syncs = [ViewSync(name, make, record) for name, make in makers.items()]
        self._page = [ViewSync("the run's page", page, record)] if page else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Release every view without waiting, also if the run failed."""
        for sync in (*self._syncs, *self._page):
            sync.end()

    def record(self, head: Generation) -> None:
        """Request an update of all views to a COMMIT, without blocking."""
        for sync in (*self._syncs, *self._page):
            sync.record(head)

    def advance(self, steps: int) -> None:
        """Update the number of trained steps, including the running generation's, without blocking."""
        for sync in self._page:
            sync.advance(steps)

    def close(self, summary: RunSummary) -> str | None:
        """Close all views with the run's outcome and wait for them; return what is missing in them, or None."""
        for syncs in (self._syncs, self._page):  # the page links to the others
            for sync in syncs:
                sync.end(summary.ending)
            for sync in syncs:
                sync.wait()
        return "; ".join(sync.behind for sync in self._syncs if sync.behind) or None


def catch_up(name: str, view: View, head: Generation) -> int:
    """Update a view to a COMMIT, outside of any flow."""
    return view.catch_up(head)


def _open_study(run: RunRef, study_url: str) -> View:
    from tasks.views.study import StudyRecorder  # imports Optuna, which the flow does without

    return StudyRecorder(run.open(), run.config, study_url)


def _track(name: str, run: RunRef, settings: Settings) -> View:
    return TrackRecorder(name, run.open(), run.config, settings.tracking_directory, settings.packages)


def _advance(view: View, steps: int) -> None:
    view.advance(steps)
