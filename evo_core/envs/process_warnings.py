"""Transport of warnings from environment subprocesses, in their infos, to the learner's process.

They are reported with the name of the member, like the warnings of environments in the learner's own process.
"""

import builtins
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

REMARKS = "evolve_remarks"
"""Key of an environment's info under which its process sends the warnings since the last step."""

_pending: list[tuple[str, ...]] = []


def collect_remarks() -> None:
    """Collect this process's warnings from now on, instead of writing them to standard error."""
    replaced: Any = _keep_warning
    warnings.showwarning = replaced
    logging.getLogger().addHandler(_CollectingHandler(logging.WARNING))


def take_remarks() -> dict[str, Any]:
    """Return and clear the collected warnings, as part of an info; empty if there are none."""
    taken = tuple(_pending)
    _pending.clear()
    return {REMARKS: taken} if taken else {}


def write_remarks() -> None:
    """Write the collected warnings to standard error, when no info will carry them."""
    for kind, *_, text in take_remarks().get(REMARKS, ()):
        print(f"{kind}: {text}", file=sys.stderr)


def repeat_remarks(info: Mapping[str, Any]) -> None:
    """Repeat in this process the warnings sent by environment processes."""
    for sent in info.get(REMARKS, ()):
        _repeat(sent or ())


def _repeat(sent: Iterable[tuple[str, ...]]) -> None:
    for kind, place, number, text in sent:
        if kind == "log":
            logging.getLogger(place).log(int(number), "%s", text)
            continue
        category = getattr(builtins, kind, UserWarning)
        warnings.warn_explicit(text, category, place, int(number))


def _keep_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    _pending.append((category.__name__, filename, str(lineno), str(message)))


class _CollectingHandler(logging.Handler):
    """Keeps log records."""

    def emit(self, record: logging.LogRecord) -> None:
        _pending.append(("log", record.name, str(record.levelno), record.getMessage()))
