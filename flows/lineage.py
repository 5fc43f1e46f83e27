"""The lineage's view in Optuna, kept beside training: a database that fails or hangs stops nothing."""

import threading
from contextvars import copy_context

from evo_core.records import Generation
from flows.faults import tolerated
from flows.observer import observer
from tasks.generation import record_lineage
from tasks.ref import RunRef
from tasks.study import StudyRecorder

LAST_WAIT_S = 120.0
"""How long the end of a run waits for the database."""


class LineageView:
    """Records generations in the study, in a thread of its own. `behind` says why it lacks some, or is None."""

    def __init__(self, run: RunRef, study_url: str) -> None:
        self._run, self._url = run, study_url
        self._recorder: StudyRecorder | None = None
        self._changed = threading.Condition()
        self._wanted: Generation | None = None
        self._closed = False
        self._told: str | None = None
        self.behind: str | None = None
        # a daemon, so that a database that never answers cannot keep the process alive; in this run's Prefect context
        self._thread = threading.Thread(target=copy_context().run, args=(self._keep_up,), daemon=True)
        self._thread.start()

    def record(self, head: Generation) -> None:
        """Ask for the study to be brought up to a COMMIT; returns at once."""
        with self._changed:
            self._wanted = head
            self._changed.notify()

    def close(self, wait_s: float = LAST_WAIT_S) -> None:
        """Wait until everything that was asked for is tried; `behind` is final then."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(wait_s)
        if self._thread.is_alive():
            self.behind = f"the study's database has not answered for {wait_s:.0f} s"
            observer().warned(self.behind)

    def _keep_up(self) -> None:
        while (head := self._next()) is not None:
            self._bring_up_to(head)

    def _next(self) -> Generation | None:
        """Wait for the newest COMMIT that was asked for; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted is not None or self._closed)
            head, self._wanted = self._wanted, None
            return head

    def _bring_up_to(self, head: Generation) -> None:
        """Record what is missing; a database that fails is a warning, said once, and is tried again next time."""
        self.behind = f"the study lacks generations up to {head.generation}"
        faults: list[str] = []
        with tolerated(faults.append):
            if self._recorder is None:
                self._recorder = StudyRecorder(self._run.open(), self._run.config, self._url)
            record_lineage(self._recorder, head)
            self.behind = self._told = None
        for reason in faults:
            self._recorder = None
            self.behind = f"{self.behind}: {reason}"
            if reason != self._told:
                observer().warned(self.behind)
            self._told = reason
