"""A run in this process: read its settings, run the flow, show its progress, report how it ended."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from evo_core.config.run_config import RunConfig
from flows.cli.ending import ExitReport
from flows.cli.output import emit
from flows.engine.forkserver import start_forkserver
from flows.observers.observer import Observer
from flows.prefect_server.api import describe_api, require_configured_api
from flows.prefect_server.embedded import no_heartbeats, prefect_api
from flows.settings import BadInput, Settings

if TYPE_CHECKING:
    from flows.outcome import RunSummary


def read_settings(flags: Mapping[str, object]) -> Settings:
    """Read settings from flags, else from the environment; raise BadInput that names an invalid one."""
    from pydantic import ValidationError

    try:
        given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        flag, reason = str(first["loc"][0]).replace("_", "-"), first["msg"].removeprefix("Value error, ")
        got = "" if "got" in reason else f", got {first['input']!r}"
        raise BadInput(f"--{flag}: {reason.replace('Input should be', 'expected')}{got}") from None


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is about to begin, or to continue if it exists."""

    config: RunConfig
    run_id: str
    settings: Settings
    exists: bool


Show = Callable[[Console, RunConfig], AbstractContextManager[Observer]]
"""Context in which a run is shown, by the observer that it yields."""


def run_flow(start: Start, *, json: bool) -> int:
    """Run the flow, embedded when no Prefect API is configured; print the outcome."""
    console = Console(stderr=json)
    report = run_to_its_end(start, console)
    if json:
        emit(report.as_json())
    report.show(console)
    return report.exit_code


def run_to_its_end(start: Start, console: Console, show: Show | None = None) -> ExitReport:
    """Run the flow and return how it ended, also if it failed or was interrupted; BadInput before anything began."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the UI keeps the whole log
    began = time.monotonic()
    summary, failure, began_work, failures = None, None, False, list[dict[str, object]]()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        summary = _already_finished(start.config, start.run_id, start.settings) if start.exists else None
        if summary is None:
            api = require_configured_api()
            print(f"Prefect: {describe_api(api)}", file=sys.stderr)
            began_work = True
            console.print("starting Prefect and the workers …", style="dim")
            if start.settings.engine == "local":
                start_forkserver()
            with prefect_api(meanwhile=_import_flow), nullcontext() if api else no_heartbeats():
                summary = _evolve(start, console, show, failures)
    except BaseException as error:  # reported with the command to continue, also for Ctrl-C and SIGTERM
        if isinstance(error, BadInput) and not began_work:
            raise
        failure = error
    wall_s = time.monotonic() - began
    return ExitReport(start.run_id, start.config, start.settings, summary, failure, wall_s, failures)


def _already_finished(config: RunConfig, run_id: str, settings: Settings) -> "RunSummary | None":
    """Summarize a run that has nothing left to do without starting anything, and update its views."""
    from flows.outcome import stored_ending, summarize
    from flows.runs import open_run
    from flows.views.sync import Views, catch_up

    run = open_run(settings, config, run_id)
    head = run.open().head()
    ending = stored_ending(run, head)
    if head is None or ending is None:
        return None
    with Views(run, settings, catch_up) as views:
        views.record(head)
        summary = summarize(run_id, head, ending)
        return summary.model_copy(update={"behind": views.close(summary)})


def _interrupt(number: int, frame: object) -> None:
    """Handle SIGTERM like Ctrl-C: stop workers and server, and print how to continue."""
    raise KeyboardInterrupt


def _import_flow() -> None:
    """Import what takes seconds, while the Prefect server starts."""
    import flows.evolve  # noqa: F401


def _evolve(start: Start, console: Console, show: Show | None, failures: list[dict[str, object]]) -> "RunSummary":
    from prefect.logging.handlers import APILogHandler

    from flows.evolve import evolve
    from flows.observers.failure_list import Failures
    from flows.observers.observer import also_watched_by, watched_by
    from flows.observers.terminal import display
    from flows.prefect_server.stored_results import no_stored_results
    from tasks.logs.lost_connections import silence_lost_connections

    silence_lost_connections()
    kept = Failures()
    try:
        with (
            no_stored_results(),
            (show or display)(console, start.config) as observer,
            watched_by(observer),
            also_watched_by(kept),
        ):
            return evolve(start.config, start.run_id)
    finally:
        failures += kept.as_dicts()
        APILogHandler().flush()  # the embedded server is about to stop
