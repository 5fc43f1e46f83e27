"""Collect warnings and log records of members' code and send them to the flow, each message once."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from distributed import get_worker

from evo_core.config.run_config import RunConfig
from evo_core.installation import PACKAGES
from tasks.logs.redaction import concealed
from tasks.logs.run_log import log_to_run
from tasks.runs.ref import RunRef

LENGTH = 500
"""Maximum number of characters kept of a warning."""

_INFRASTRUCTURE = ("prefect", "distributed", "tornado", "asyncio", "py.warnings", "httpx", "botocore", "urllib3")
"""Loggers of infrastructure, whose records do not concern members."""

_SENT: set[tuple[str, str]] = set()
"""Warnings already sent by this process, by run, because every generation would repeat them."""


def warnings_topic(run_id: str) -> str:
    """Return the Dask event topic on which workers forward members' warnings."""
    return f"evolve-warnings-{run_id}"


def without_numbers(text: str) -> str:
    """Replace numbers and memory addresses in a warning, so that repetitions from other members compare equal."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", text)


@contextmanager
def forward_member_warnings(run: RunRef, uid: str) -> Iterator[None]:
    """Forward warnings of the body with the member's uid; outside a Dask worker they are handled as usual."""
    try:
        worker = get_worker()
    except ValueError:
        yield
        return

    def send(text: str) -> None:
        said = concealed(text)[:LENGTH]
        if (run.run_id, without_numbers(said)) not in _SENT:
            _SENT.add((run.run_id, without_numbers(said)))
            worker.log_event(warnings_topic(run.run_id), {"session": run.session, "uid": uid, "text": said})

    handler = _Records(send)
    logging.getLogger().addHandler(handler)
    for package in PACKAGES:  # Prefect's logging configuration may not propagate these to the root
        logging.getLogger(package).addHandler(handler)
    try:
        with _shown(send, run.config):
            yield
    finally:
        for name in (None, *PACKAGES):
            logging.getLogger(name).removeHandler(handler)


class _Records(logging.Handler):
    """Handler that forwards records from WARNING up, except member failures, which are reported in full elsewhere."""

    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "reported_elsewhere", False) or record.name.partition(".")[0] in _INFRASTRUCTURE:
            return
        text = record.getMessage()
        if record.name.partition(".")[0] not in PACKAGES:  # these are in the task's log already
            log_to_run(f"{record.name}: {text}", record.levelno)
            text = f"{record.name}: {text}"
        self._send(text)


@contextmanager
def _shown(send: Callable[[str], None], config: RunConfig) -> Iterator[None]:
    """Forward Python's warnings, including DeprecationWarnings from Gymnasium or the environment's own code."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        text = re.sub(r"\x1b\[[\d;]*m", "", str(message)).strip()
        said = f"{category.__name__}: {text} ({filename}:{lineno})"
        log_to_run(said, logging.WARNING)
        send(said)

    with warnings.catch_warnings():
        package = config.env.id.rpartition(":")[0].partition(".")[0]
        for module in filter(None, ("gymnasium", package)):
            warnings.filterwarnings("default", category=DeprecationWarning, module=rf"{re.escape(module)}(\.|$)")
        replaced: Any = show
        warnings.showwarning = replaced
        yield
