"""Run one of our modules as a program: python -P -m evolve_rl.module deployments.guardian ARGUMENTS."""

import runpy
import sys

from evo_core.installation import prefer_own_packages


def run_module(name: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does, from this installation even if another one has its name."""
    prefer_own_packages()
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_module(sys.argv[1], sys.argv[2:])
