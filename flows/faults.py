"""What a lineage database may do to a run: none of it stops training."""

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from tasks.store import StoreError
from tasks.study import ForeignStudy

VIEW_FAULTS = (OptunaError, SQLAlchemyError, StoreError, ForeignStudy, ImportError, OSError)
"""It may be away, be locked, belong to another run, or lack its driver or its directory."""
