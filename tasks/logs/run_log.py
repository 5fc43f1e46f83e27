"""The log of the current flow or task run in Prefect. Outside of a run nothing is logged."""

import logging
from collections.abc import Mapping

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.logging.handlers import APILogHandler

from evo_core.installation import PACKAGES
from tasks.logs.redaction import concealed

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def run_logger() -> Logger | None:
    """Return the logger of this thread's task run, else of its flow run; None outside of both."""
    try:
        return get_run_logger()
    except MissingContextError:
        return None


def log_to_run(message: str, level: int = logging.INFO) -> None:
    """Log a message in the current run, without credentials."""
    if (logger := run_logger()) is not None:
        logger.log(level, "%s", concealed(message))


async def flush_logs() -> None:
    """Send pending logs to the Prefect API, which otherwise happens every two seconds, but not at exit."""
    await APILogHandler.aflush()


def send_log() -> None:
    """Send pending logs to the Prefect API, waiting at most five seconds."""
    APILogHandler().flush()


def same_run(one: Logger, other: Logger) -> bool:
    """Return True if two loggers belong to the same flow run and task run."""
    return _ids(one) == _ids(other)


class _Forwarding(logging.Handler):
    """Handler that forwards records of this program's modules to the log of the current run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record in the current run; outside of a run, leave it to other handlers."""
        log_to_run(record.getMessage(), record.levelno)


_FORWARDING = _Forwarding()


def forward_warnings() -> None:
    """Forward warnings of this program's modules to the current run: why a member failed, a store's retries.

    Idempotent.
    """
    for package in PACKAGES:
        logging.getLogger(package).addHandler(_FORWARDING)


def _ids(logger: Logger) -> tuple[object, object]:
    extra: Mapping[str, object] = getattr(logger, "extra", None) or {}
    return extra.get("flow_run_id"), extra.get("task_run_id")
