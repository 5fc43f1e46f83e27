"""Runs from Python: `evolve_rl.run(config)` evolves a population, `evolve_rl.open_run(store, run_id)` opens a run.

This package is also where every process of the installation starts. Its other packages (tasks, flows, deployments) have
names that many projects use for modules of their own; they are imported at the first use of a name below, which makes
sure that those of this installation are, and raises ShadowedError where the user's own were imported before.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evo_core.config.parsing import ConfigError
    from evo_core.installation import ShadowedError
    from evolve_rl.launching import run
    from evolve_rl.opened_run import Run, open_run
    from flows.bad_input import BadInput, Failed

_HOME = {
    "BadInput": "flows.bad_input",
    "ConfigError": "evo_core.config.parsing",
    "Failed": "flows.bad_input",
    "Run": "evolve_rl.opened_run",
    "ShadowedError": "evo_core.installation",
    "open_run": "evolve_rl.opened_run",
    "run": "evolve_rl.launching",
}

__all__ = ["BadInput", "ConfigError", "Failed", "Run", "ShadowedError", "open_run", "run"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"evolve_rl has no {name!r}; it has {', '.join(__all__)}")
    from evo_core.installation import prefer_own_packages, require_own_packages

    prefer_own_packages()
    if name != "ShadowedError":
        require_own_packages()
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
