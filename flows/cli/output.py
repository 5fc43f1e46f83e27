"""Machine-readable standard output: with --json it carries one JSON object and nothing else."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.bad_input import BadInput

if TYPE_CHECKING:
    from rich.console import Console

_reserved: int | None = None


def reserve_stdout() -> None:
    """Reserve standard output for `emit`, and redirect other output to standard error.

    On the level of file descriptors, because workers inherit them and a user's environment may print.
    """
    global _reserved
    if _reserved is None:
        sys.stdout.flush()
        _reserved = os.dup(1)
        os.dup2(2, 1)


def make_console() -> "Console":
    """Return a console for tables: as wide as the terminal; in a pipe, lines are not truncated."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def emit(value: object) -> None:
    """Print one JSON object on standard output."""
    line = json.dumps(value) + "\n"
    if _reserved is None:
        print(line, end="", flush=True)
    else:
        os.write(_reserved, line.encode())


def require_directory(flag: str, path: Path | None) -> None:
    """Raise BadInput unless a file can be written there."""
    if path is None:
        return
    if path.is_dir():
        raise BadInput(f"{flag} {path}: expected a file to write, this is a directory")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{flag} {path}: there is no directory {path.absolute().parent}; make it first")
