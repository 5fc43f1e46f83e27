"""The lineage's view in Optuna: training never waits for it, and what it misses it makes up for later."""

from sqlalchemy.exc import SQLAlchemyError

from evo_core.records import Generation
from flows.observer import observer
from tasks.generation import record_lineage
from tasks.ref import RunRef
from tasks.study import StudyRecorder


class LineageView:
    """Records generations in the study. `behind` says why it lacks some, or is None."""

    def __init__(self, run: RunRef, study_url: str) -> None:
        self._run, self._url = run, study_url
        self._recorder: StudyRecorder | None = None
        self.behind: str | None = None

    def record(self, head: Generation) -> None:
        """Bring the study up to a COMMIT; a database that fails is a warning, and is tried again next time."""
        try:
            if self._recorder is None:
                self._recorder = StudyRecorder(self._run.open(), self._run.config, self._url)
            record_lineage(self._recorder, head)
            self.behind = None
        except SQLAlchemyError as error:
            self._recorder = None
            self.behind = f"the study lacks generations up to {head.generation}: {error}"
            observer().warned(self.behind)
