"""Output during a run in a notebook: the terminal's live table as HTML below the cell, without widgets."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from evo_core.config.run_config import RunConfig
from flows.observers.observer import Observer
from flows.observers.terminal import LiveObserver

WIDTH = 120
"""Characters of a line."""

REFRESH_S = 0.4
"""Least time between two updates of the cell's output."""

SHOWN_LINES = 12
"""Lines of finished generations that stay visible while a run works; all are shown once it has ended."""

PRE = (
    '<pre style="white-space:{wrap};word-break:normal;overflow-x:auto;line-height:1.25;'
    "font-family:Menlo,Consolas,'DejaVu Sans Mono',monospace\">{code}</pre>"
)
"""Lines wrap (pre-wrap), tables do not (pre)."""


def in_notebook() -> bool:
    """Return True if this process is the kernel of a notebook, whose cells show HTML."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


class CellOutput:
    """The output of a cell that runs a population, as HTML. `observer` receives the events of the run."""

    def __init__(self, config: RunConfig) -> None:
        self._lines = Console(file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False)
        self.observer = LiveObserver(self._lines, config)

    def working(self) -> str:
        """Return the last lines, the table of the running generation, and the progress bar."""
        console = Console(file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False)
        console.print(self.observer)
        last = _html(self._lines).rstrip("\n").split("\n")[-SHOWN_LINES:]
        return _wrapped("\n".join(last)) + PRE.format(wrap="pre", code=_html(console))

    def ended(self) -> str:
        """Return all lines."""
        return _wrapped(_html(self._lines))


@contextmanager
def notebook_display(config: RunConfig, describe: Callable[[], str]) -> Iterator[tuple[Observer, Callable[[], None]]]:
    """Show a run below the cell that is executed.

    Yields its observer, and a function to call after every event, which redraws at most every 0.4 s. `describe` returns
    HTML to show below at the end.
    """
    from IPython.display import HTML, display

    output = CellOutput(config)
    handle = display(HTML(output.working()), display_id=True)
    drawn = 0.0

    def refresh() -> None:
        nonlocal drawn
        if time.monotonic() - drawn > REFRESH_S:
            drawn = time.monotonic()
            handle.update(HTML(output.working()))

    try:
        yield output.observer, refresh
    finally:
        handle.update(HTML(output.ended() + describe()))


def _wrapped(code: str) -> str:
    return PRE.format(wrap="pre-wrap", code=code) if code.strip() else ""


def _html(console: Console) -> str:
    return console.export_html(clear=False, inline_styles=True, code_format="{code}")
