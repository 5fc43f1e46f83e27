"""Outages of the Prefect API: training continues, and reports that failed are sent again.

Two things are needed. Prefect's client retries calls on an existing connection, if configured to retry long enough. And
a subflow that cannot start, because a new connection is refused at once, is called again: its effects are idempotent,
because the store keeps its results.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import tenacity

from flows.observers.observer import observer

TRIES = 150
"""Number of attempts to call a subflow while the API refuses connections, in total a quarter of an hour."""

PAUSE_S = 5.0

RESTART_S = 120.0
"""Time after the restart of our own server during which an unavailable API is not reported."""

_restart_announced = -RESTART_S


def prepare_client() -> None:
    """Configure Prefect's client to retry for two minutes (2 s, doubled six times). Call before Prefect is imported."""
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "6")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "60")  # automations may rely on them (evolve deploy)
    # a worker started during an outage would fail every task when it requests the server's version
    os.environ.setdefault("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false")


def retry_outages(subflow: Callable[..., Any]) -> Callable[..., Any]:
    """Retry calls of a subflow while the Prefect API is unavailable."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_outage),
        wait=tenacity.wait_fixed(PAUSE_S),
        stop=tenacity.stop_after_attempt(TRIES),
        before_sleep=_warn,
        reraise=True,
    )
    return partial(retrying, subflow)


def announce_restart(code: int) -> None:
    """Print that our own Prefect server died, with its exit code, and is being restarted."""
    global _restart_announced
    _restart_announced = time.monotonic()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    print(f"warning: the Prefect server {how}; restarting it, and runs continue", file=sys.stderr)


def describe_outage(error: BaseException) -> str | None:
    """Return a message if an error means that the API is unavailable, else None."""
    if not is_outage(error):
        return None
    return f"the Prefect API cannot be reached ({type(error).__name__}: {error})"


def is_outage(error: BaseException | None) -> bool:
    """Return True if an error means that the API is unavailable; only Prefect uses httpx here."""
    import httpx

    while error is not None:
        if isinstance(error, httpx.TransportError):
            return True
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= 500:
            return True
        if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API"):
            return True
        error = error.__cause__
    return False


def _warn(state: tenacity.RetryCallState) -> None:
    """Report once that the API is unavailable, after some seconds in which a server of our own may be restarted."""
    said = time.monotonic() - _restart_announced < RESTART_S
    if state.attempt_number == 2 and state.outcome is not None and not said:
        observer().warned(
            f"the Prefect API is unavailable ({state.outcome.exception()}); waiting until it is available"
        )
