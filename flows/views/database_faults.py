"""Faults of the Optuna database: unreachable, hanging, locked, without a driver, or in use by another run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def tolerated(warn: Callable[[str], None]) -> Iterator[None]:
    """Pass an exception of the body to `warn` instead of raising it: a view never stops a run."""
    try:
        yield
    except Exception as error:  # database drivers raise any exception
        warn(describe_fault(error))


def describe_fault(error: BaseException) -> str:
    """Return the database's own message, without the message that Optuna wraps it in."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
