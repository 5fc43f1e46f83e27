"""How a flow or task run fails: its state is one clear sentence, and the traceback stands in its log."""

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from distributed.scheduler import KilledWorker
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext, TaskRunContext
from pydantic import ValidationError

from tasks.run_log import ROOMS, forward_warnings, run_logger
from tasks.secrecy import concealed

P = ParamSpec("P")
R = TypeVar("R")


class _Failed(State[Any]):
    """A failed run whose state Prefect can log without the error, whose own words may hold credentials."""

    def __repr__(self) -> str:
        return str(self)


def fails_plainly(body: Callable[P, R]) -> Callable[P, R]:
    """Make the body of a flow, or of a task that is submitted, fail with a sentence instead of a type and a repr.

    Stands below `@flow` or `@task`. Who waits for the run gets the very exception, as from any other. Called as a
    plain function, outside of a run or inside of another one's, the body just raises.
    """

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        forward_warnings()
        try:
            return body(*args, **kwargs)
        except Exception as error:
            if not _is_body_of_this_run(run):
                raise
            return cast(R, _failed(error))

    return run


def sentence(error: BaseException) -> str:
    """Say what went wrong: errors of this program are advice, and say it themselves; others are named."""
    if isinstance(error, KilledWorker):
        return (
            "A worker died again and again over the same task: its process was killed, perhaps for want of memory. "
            "Give workers more (--member-memory, fewer --workers), or look at the environment; then go on with the run."
        )
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, e['loc'])) or error.title}: {e['msg']}" for e in error.errors()]
        return concealed(f"{error.title}: {'; '.join(problems)}")
    if type(error).__module__.partition(".")[0] in ROOMS and str(error):
        return concealed(str(error))
    said = f": {error}" if str(error) else ""
    return concealed(f"{type(error).__name__}{said} (unexpected; the log of this run has the traceback)")


def _failed(error: Exception) -> State[Any]:
    """Write the traceback down, below the sentence; Prefect raises the error itself to who asks for the result."""
    said = sentence(error)
    if (logger := run_logger()) is not None:
        logger.error("%s\n\n%s", said, concealed("".join(traceback.format_exception(error))))
    return _Failed(type=StateType.FAILED, message=said, data=error)


def _is_body_of_this_run(run: Callable[..., Any]) -> bool:
    """Tell whether Prefect itself called a function, as the body of the current flow or task run.

    Not where the flow has retries: Prefect makes them only of what it sees raised.
    """
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None and task.task.fn is run:
        return True
    return flow is not None and flow.flow is not None and flow.flow.fn is run and not flow.flow.retries
