"""Failures of flow and task runs: one clear sentence as the state's message, and the traceback in the log."""

import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from distributed.scheduler import KilledWorker
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_logger
from pydantic import ValidationError

from evo_core.installation import PACKAGES
from tasks.logs.redaction import concealed
from tasks.logs.run_log import forward_warnings, run_logger

P = ParamSpec("P")
R = TypeVar("R")


ALREADY_LOGGED = "evolve_failure_logged"
"""Attribute that marks an exception as already logged, with its credentials redacted."""


class _SkipLogged(logging.Filter):
    """Filter that keeps Prefect's engine from logging an exception a second time, with its credentials."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for all other records."""
        return not (record.exc_info and getattr(record.exc_info[1], ALREADY_LOGGED, False))


_SKIP_LOGGED = _SkipLogged()


class _Failed(State[Any]):
    """Failed state that Prefect can log without the exception, whose message may hold credentials."""

    def __repr__(self) -> str:
        return str(self)


def fail_with_sentence(body: Callable[P, R]) -> Callable[P, R]:
    """Make the body of a flow, or of a submitted task, fail with a sentence instead of a type and a repr.

    Apply it below `@flow` or `@task`. Callers that wait for the run get the original exception. Called as a plain
    function, outside of a run or inside another one's, the body just raises.
    """

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        forward_warnings()
        for name in ("flow_runs", "engine"):
            get_logger(name).addFilter(_SKIP_LOGGED)
        try:
            return body(*args, **kwargs)
        except Exception as error:
            if not _is_body_of_this_run(run):
                raise
            return cast(R, _failed(error))

    return run


def sentence(error: BaseException) -> str:
    """Describe an exception in a sentence: this program's errors by their own message, others with their type."""
    if isinstance(error, KilledWorker):
        return (
            "A worker died repeatedly over the same task: its process was killed, perhaps for lack of memory. "
            "Give workers more (--member-memory, fewer --workers), or look at the environment; then resume the run."
        )
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, e['loc'])) or error.title}: {e['msg']}" for e in error.errors()]
        return concealed(f"{error.title}: {'; '.join(problems)}")
    if type(error).__module__.partition(".")[0] in PACKAGES and str(error):
        return concealed(str(error))
    said = f": {error}" if str(error) else ""
    return concealed(f"{type(error).__name__}{said} (unexpected; the log of this run has the traceback)")


def log_failure(error: Exception) -> str:
    """Describe an exception in a sentence, and log it with its traceback in the current run."""
    said = sentence(error)
    if (logger := run_logger()) is not None:
        logger.error("%s\n\n%s", said, concealed("".join(traceback.format_exception(error))))
        with suppress(AttributeError, TypeError):  # some exceptions are frozen
            setattr(error, ALREADY_LOGGED, True)
    return said


def _failed(error: Exception) -> State[Any]:
    """Return a failed state with a sentence; callers that ask for the result get the exception itself."""
    return _Failed(type=StateType.FAILED, message=log_failure(error), data=error)


def _is_body_of_this_run(run: Callable[..., Any]) -> bool:
    """Return True if Prefect itself called a function, as the body of the current flow or task run.

    False for a flow with retries, because Prefect retries only exceptions that it sees raised.
    """
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None and task.task.fn is run:
        return True
    return flow is not None and flow.flow is not None and flow.flow.fn is run and not flow.flow.retries
