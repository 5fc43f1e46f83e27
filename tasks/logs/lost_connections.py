"""Suppress what Prefect and Dask log when a connection is lost; the run reports it in one sentence."""

import logging
import sys
from typing import Any

import httpx
from prefect._internal.concurrency import logger as prefect_services
from prefect.logging.handlers import APILogWorker
from websockets.exceptions import ConnectionClosed, InvalidHandshake


def is_lost_connection(error: BaseException | None) -> bool:
    """Return True if an error means that the other side of a connection is gone or shutting down."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, OSError | httpx.TransportError | ConnectionClosed | InvalidHandshake)


class _PrefectServices(logging.Filter):
    """Filter that drops reports of events that could not be sent, and logs other failures without the whole event."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Check the exception being handled when a background service of Prefect logs an error."""
        error = sys.exc_info()[1]
        if record.levelno < logging.ERROR or error is None:
            return True
        if is_lost_connection(error):
            return False
        if isinstance(record.args, tuple) and "%r failed to process item %r" in record.msg:
            record.args = (record.args[0], type(error).__name__, str(error))
            record.msg = "Service %r failed: %s: %s"
        return True


class _Scheduler(logging.Filter):
    """Filter that drops failed broadcasts to workers that have ended: the caller gets the exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for all other records."""
        lost = isinstance(sys.exc_info()[1], OSError)
        return not (lost and record.getMessage().startswith("broadcast to "))


class _Worker(logging.Filter):
    """Filter that drops failed heartbeats: a scheduler that is gone ends its workers, a busy one is retried."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for all other records."""
        return "Failed to communicate with scheduler during heartbeat" not in record.getMessage()


_FILTERS = {
    prefect_services.name: _PrefectServices(),
    "distributed.scheduler": _Scheduler(),
    "distributed.worker": _Worker(),
}


def silence_lost_connections() -> None:
    """Filter reports of lost connections from this process's terminal. Idempotent."""
    for name, each in _FILTERS.items():
        logging.getLogger(name).addFilter(each)
    setattr(APILogWorker, "_handle_batch", _send_logs)  # noqa: B010  # mypy knows that a method is not assigned to


async def _send_logs(self: APILogWorker, items: list[dict[str, Any]]) -> None:
    """Send log lines as Prefect does, but write nothing to standard error if the Prefect API is unreachable."""
    try:
        await self._client.create_logs(items)
    except Exception as error:
        if not is_lost_connection(error):
            sys.stderr.write(f"warning: the Prefect API took no logs: {type(error).__name__}: {error}\n")
