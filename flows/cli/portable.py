"""Start processes with portable numerics: this one again, or any command and its children."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from evo_core.numerics.instructions import is_portable, portable_environment

VARIABLE = "EVOLVE_NUMERICS"


def wants_portable(tokens: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return True if portable numerics are configured, by --numerics, else by EVOLVE_NUMERICS."""
    values = [value for flag, value in pairwise([*tokens, ""]) if flag == "--numerics"]
    values += [token.partition("=")[2] for token in tokens if token.startswith("--numerics=")]
    return (values or [environment.get(VARIABLE, "")])[-1] == "portable"


def restart_portably() -> None:
    """Restart this process with portable numerics, unless it has them; does not return in that case. Call it before
    heavy imports: the command line is run again.
    """
    if not is_portable(os.environ):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], _portably())


def portable(*command: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Run any command, such as one that starts a worker, and its child processes with portable numerics."""
    own = str(Path(sys.executable).parent)  # the environment's programs, active or not
    path = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=path) if command else None
    if program is None:
        given = f"got {command[0]!r}, which is not found" if command else "got none"
        print(f"evolve portable: expected a command, such as `dask worker …`, {given}", file=sys.stderr)
        return 2
    os.execve(program, [program, *command[1:]], _portably())


def _portably() -> dict[str, str]:
    return {**os.environ, **portable_environment(os.environ), VARIABLE: "portable"}
