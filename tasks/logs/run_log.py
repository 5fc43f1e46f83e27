"""The log of the current flow or task run in Prefect. Outside of a run nothing is logged."""

import logging
from collections.abc import Mapping

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.logging.handlers import APILogHandler

from tasks.logs.redaction import concealed

ROOMS = ("evo_core", "tasks", "flows", "deployments")
"""The packages of this program."""

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def run_logger() -> Logger | None:
    """Find the log of the task run, else of the flow run, that this thread works for; None outside of both."""
    try:
        return get_run_logger()
    except MissingContextError:
        return None


def tell(message: str, level: int = logging.INFO) -> None:
    """Say one line in the log of the current run, without credentials."""
    if (logger := run_logger()) is not None:
        logger.log(level, "%s", concealed(message))


async def flush_logs() -> None:
    """Send what this process has not told the Prefect API yet: it does so every two seconds, and not when it ends."""
    await APILogHandler.aflush()


def send_log() -> None:
    """Send what this process has not told the Prefect API yet, and wait for it for at most five seconds."""
    APILogHandler().flush()


def same_run(one: Logger, other: Logger) -> bool:
    """Tell whether two logs belong to the same flow run and task run."""
    return _ids(one) == _ids(other)


class _Forwarding(logging.Handler):
    """Takes what modules of this program log into the log of the run that they work for."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it there; a thread that works for no run is heard by other handlers alone."""
        tell(record.getMessage(), record.levelno)


_FORWARDING = _Forwarding()


def forward_warnings() -> None:
    """Let this process's runs hear the warnings of this program's modules: why a member failed, a store's pauses.

    Doing it again changes nothing.
    """
    for room in ROOMS:
        logging.getLogger(room).addHandler(_FORWARDING)


def _ids(logger: Logger) -> tuple[object, object]:
    extra: Mapping[str, object] = getattr(logger, "extra", None) or {}
    return extra.get("flow_run_id"), extra.get("task_run_id")
