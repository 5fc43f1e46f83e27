"""The command `evolve`, also as `python -m evolve_rl`."""

import sys

from evo_core.installation import ShadowedError, prefer_own_packages, require_own_packages

BAD_INPUT = 2


def main() -> None:
    """Run the command line, whatever modules the working directory and PYTHONPATH hold."""
    prefer_own_packages()
    try:
        require_own_packages()
    except ShadowedError as error:
        print(f"evolve: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    from flows.cli.app import main as run_command

    run_command()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, which `python -m` searches first
    main()
