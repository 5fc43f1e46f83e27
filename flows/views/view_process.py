"""A view in a process of its own, so that recording does not take Python's lock from the flow that submits members."""

import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from evo_core.evaluation.run_end import Ending
from evo_core.installation import PACKAGES
from evo_core.records.chain import Generation
from flows.engine.forkserver import START_METHOD, become_worker, start_forkserver
from flows.observers.observer import observer
from tasks.logs.redaction import concealed
from tasks.views.view import View

NAME = "evolve-study"
"""Name of the process on Linux, of at most 15 characters."""

NICENESS = 5
"""Priority below that of workers: a record may wait, a member should not."""

CLOSE_S = 10.0
"""Seconds that the process may take to end once its view is closed."""


class ViewProcess(View):
    """Passes every call to a view that `make`, which can be pickled, opens in another process, and waits for it.

    A process that has ended between two calls is started again. Raises what the view raised, or, if an error is no
    longer whole in another process, a RuntimeError that quotes it. Warnings of the view are passed to the observer.
    `forked`: from the fork server of local workers, instead of a new Python.
    """

    def __init__(self, make: Callable[[], View], *, forked: bool) -> None:
        self._make, self._forked = make, forked
        self._start()

    def catch_up(self, head: Generation) -> int:
        """Add what is missing up to a COMMIT."""
        return cast(int, self._call("catch_up", head))

    def finish(self, ending: Ending) -> None:
        """Pass on how the run ended."""
        self._call("finish", ending)

    def close(self) -> None:
        """Close the view and end its process."""
        try:
            if self._process.is_alive():
                self._call("close")
        finally:
            self._connection.close()
            self._process.join(CLOSE_S)
            if self._process.is_alive():
                self._process.kill()

    def _start(self) -> None:
        if self._forked:
            start_forkserver()  # it runs already, unless the engine has no use for it
        context: Any = get_context(START_METHOD if self._forked else "spawn")
        self._connection, other = context.Pipe()
        environment = dict(os.environ) if self._forked and START_METHOD == "forkserver" else None
        self._process = context.Process(target=_serve, args=(self._make, other, environment), daemon=True)
        self._process.start()
        other.close()
        self._answer()

    def _call(self, method: str, *arguments: object) -> object:
        if not self._process.is_alive():
            self._connection.close()
            self._start()
        try:
            self._connection.send((method, arguments))
        except OSError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> object:
        try:
            result, error, said = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        for warning in said:
            observer().warned(warning)
        if error is not None:
            raise error
        return result

    def _ended(self) -> RuntimeError:
        self._process.join(CLOSE_S)
        return RuntimeError(f"the process that records it has ended (exit code {self._process.exitcode})")


class _Collecting(logging.Handler):
    """Collects warnings, without credentials, for the next answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(concealed(record.getMessage()))


def _serve(make: Callable[[], View], connection: Connection, environment: Mapping[str, str] | None) -> None:
    """Open a view and answer calls until it is closed or the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C here too; the run decides when to end
    if environment is not None:
        become_worker(environment)
    if sys.platform == "linux":
        Path("/proc/self/comm").write_text(NAME)
    os.nice(NICENESS)
    collecting = _Collecting()
    logging.captureWarnings(True)
    for package in (*PACKAGES, "py.warnings"):
        logging.getLogger(package).addHandler(collecting)
    view: View | None = None
    call: tuple[str, tuple[object, ...]] = ("open", ())
    while True:
        result: object = None
        error: BaseException | None = None
        try:
            if view is None:
                view = make()
            else:
                result = getattr(view, call[0])(*call[1])
        except Exception as raised:  # database drivers raise any exception
            error = _portable(raised)
        said, collecting.said = collecting.said, []
        try:
            connection.send((result, error, said))
            if view is None or call[0] == "close":
                return
            call = connection.recv()
        except (EOFError, OSError):
            return


def _portable(error: BaseException) -> BaseException:
    """Return the first cause of an error, which would be lost, or a text if it cannot be pickled."""
    while error.__cause__ is not None:
        error = error.__cause__
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # constructors of exceptions may raise any other
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
