"""The lineage's view in Optuna: a database that fails does not stop training, and what it misses comes later."""

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from evo_core.records import Generation
from flows.observer import observer
from tasks.generation import record_lineage
from tasks.ref import RunRef
from tasks.store import StoreError
from tasks.study import ForeignStudy, StudyRecorder

FAULTS = (OptunaError, SQLAlchemyError, StoreError, ForeignStudy, ImportError, OSError)
"""What a database may do to us: be away, be locked, belong to another run, lack its driver or its directory."""


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
        except FAULTS as error:
            self._recorder = None
            self.behind = f"the study lacks generations up to {head.generation}: {error}"
            observer().warned(self.behind)
