"""What a lineage database may do to a run: none of it stops training."""

from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from tasks.store import StoreError
from tasks.study import ForeignStudy

VIEW_FAULTS = (OptunaError, SQLAlchemyError, StoreError, ForeignStudy, ImportError, OSError)
"""It may be away, be locked, belong to another run, or lack its driver or its directory."""


def describe_fault(error: BaseException) -> str:
    """Say what the database itself said: Optuna wraps it in a guess of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
