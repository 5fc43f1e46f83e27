"""Outages of the Prefect API: training goes on, and what could not be said in time is said again.

Two things are needed. Prefect's own client waits for an API that is away (for calls on a connection that it had), if
it is told to wait long enough. And a subflow that cannot start, because a new connection is refused at once, is
called again: everything that it does lies in the store, so doing it twice does nothing twice.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import tenacity

from flows.observer import observer

TRIES = 150
"""How often a subflow is called while the API refuses connections, a quarter of an hour in all, before a run fails."""

PAUSE_S = 5.0


def prepare_client() -> None:
    """Tell Prefect's client to wait for two minutes (2 s, doubled six times). Before Prefect is imported."""
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "6")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "60")  # a server may wait for these (evolve deploy)
    # a worker that starts during an outage would fail every task by asking the server for its version
    os.environ.setdefault("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false")


def survives_outages(subflow: Callable[..., Any]) -> Callable[..., Any]:
    """Call a subflow again while the Prefect API is away."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_of_the_api),
        wait=tenacity.wait_fixed(PAUSE_S),
        stop=tenacity.stop_after_attempt(TRIES),
        before_sleep=_warn,
        reraise=True,
    )
    return partial(retrying, subflow)


def _of_the_api(error: BaseException | None) -> bool:
    """Tell whether an error says that the API is away; only Prefect speaks HTTP through httpx here."""
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
    if state.attempt_number == 1 and state.outcome is not None:
        observer().warned(f"the Prefect API is away ({state.outcome.exception()}); waiting for it to come back")
