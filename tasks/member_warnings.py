"""Collect warnings and log records of members' code and send them to the flow, each message once."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from distributed import get_worker

from evo_core.config.run_config import RunConfig
from tasks.logs.redaction import concealed
from tasks.logs.run_log import ROOMS, tell
from tasks.runs.ref import RunRef

LENGTH = 500
"""Characters of a warning that are kept."""

_INFRASTRUCTURE = ("prefect", "distributed", "tornado", "asyncio", "py.warnings", "httpx", "botocore", "urllib3")
"""Loggers that speak of other things than members."""

_SENT: set[tuple[str, str]] = set()
"""Warnings that this process has sent, by run: every generation would repeat them."""


def warnings_topic(run_id: str) -> str:
    """Name the Dask event topic on which workers pass on what members warn of."""
    return f"evolve-warnings-{run_id}"


def essence(text: str) -> str:
    """Reduce a warning to what is the same wherever it comes from: steps and addresses in memory differ."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", text)


@contextmanager
def heard(run: RunRef, uid: str) -> Iterator[None]:
    """Pass on what the body warns of, with the member's name; outside a Dask worker it goes where it always goes."""
    try:
        worker = get_worker()
    except ValueError:
        yield
        return

    def send(text: str) -> None:
        said = concealed(text)[:LENGTH]
        if (run.run_id, essence(said)) not in _SENT:
            _SENT.add((run.run_id, essence(said)))
            worker.log_event(warnings_topic(run.run_id), {"session": run.session, "uid": uid, "text": said})

    handler = _Records(send)
    logging.getLogger().addHandler(handler)
    for room in ROOMS:  # Prefect's configuration of logging may keep these from the root
        logging.getLogger(room).addHandler(handler)
    try:
        with _shown(send, run.config):
            yield
    finally:
        for name in (None, *ROOMS):
            logging.getLogger(name).removeHandler(handler)


class _Records(logging.Handler):
    """Sends log records from warnings on; what says that a member failed is told in full by other ways."""

    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "told", False) or record.name.partition(".")[0] in _INFRASTRUCTURE:
            return
        text = record.getMessage()
        if record.name.partition(".")[0] not in ROOMS:  # those are in the log of the task anyway
            tell(f"{record.name}: {text}", record.levelno)
            text = f"{record.name}: {text}"
        self._send(text)


@contextmanager
def _shown(send: Callable[[str], None], config: RunConfig) -> Iterator[None]:
    """Send Python's warnings; those of deprecated calls too, where the environment's own code makes them."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        text = re.sub(r"\x1b\[[\d;]*m", "", str(message)).strip()
        said = f"{category.__name__}: {text} ({filename}:{lineno})"
        tell(said, logging.WARNING)
        send(said)

    with warnings.catch_warnings():
        package = config.env.id.rpartition(":")[0].partition(".")[0]
        for module in filter(None, ("gymnasium", package)):
            warnings.filterwarnings("default", category=DeprecationWarning, module=rf"{re.escape(module)}(\.|$)")
        replaced: Any = show
        warnings.showwarning = replaced
        yield
