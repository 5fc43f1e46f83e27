"""The command line: every command by its module, which is imported only when it runs, so `evolve --help` is fast."""

import atexit
import logging
import os
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, CycloptsPanel, ValidationError

from flows.cli.arguments import LONGEST_ARGUMENT
from flows.cli.lazy_commands import register
from flows.cli.output import reserve_stdout
from flows.cli.portable import portable, restart_portably, wants_portable
from flows.prefect_server.proxies import bypass_proxies

FAILED, BAD_INPUT = 1, 2

COMMANDS = {
    "run": "flows.cli.run:run",
    "configs": "flows.cli.config_list:configs",
    "resume": "flows.cli.resume:resume",
    "status": "flows.cli.status:status",
    "report": "flows.cli.report:report",
    "members": "flows.cli.members:members",
    "compare": "flows.cli.compare:compare",
    "replay": "flows.cli.replay:replay",
    "evaluate": "flows.cli.evaluate:evaluate",
    "watch": "flows.cli.watch:watch",
    "export": "flows.cli.export:export",
    "verify": "flows.cli.verify:verify_run",
    "gc": "flows.cli.gc:gc",
    "delete": "flows.cli.delete:delete",
    "doctor": "flows.cli.doctor:doctor",
    "import-agilerl": "flows.cli.import_agilerl:import_agilerl",
    "portable": "flows.cli.portable:portable",
    "deploy": "deployments.deploy:deploy",
    "serve": "deployments.service:serve",
}
"""The function of each command, whose docstring is its help."""

app = App(
    name="evolve",
    help="Evolve a population of PPO agents and their hyperparameters in one run.",
    version=lambda: version("evolve-rl"),
    version_flags=["--version"],
    help_format="plaintext",
    result_action="return_value",
)


for name, command in COMMANDS.items():
    register(app, name, command)
app.command("flows.cli.lineage:lineage", name="lineage", help="The family tree of a run.")


def main() -> None:
    """Run the command line; exit codes: 0 fine, 1 the run failed, 2 bad input, 3 trained, but a view is behind."""
    if wants_portable(sys.argv[1:], os.environ):
        restart_portably()
    codes: list[int] = []
    atexit.register(_skip_teardown, codes)  # first in, last out: after all that libraries register
    codes.append(_main(sys.argv[1:]))
    sys.exit(codes[0])


def _skip_teardown(codes: list[int]) -> None:
    """End the process without taking the interpreter apart, which takes a second where PyTorch and Prefect are loaded.

    Threads have been joined by now. An uncaught exception has no code, and Python's own end.
    """
    if not codes:
        return
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):  # its reader is gone, or it is closed: Python ends with a code of its own
            return
    os._exit(codes[0])


def _main(tokens: list[str]) -> int:
    if (longest := max(map(len, tokens), default=0)) > LONGEST_ARGUMENT:
        return _refuse(f"expected arguments of at most {LONGEST_ARGUMENT} characters, got one of {longest}")
    bypass_proxies()
    if tokens[:1] == ["portable"] and tokens[1:] and not tokens[1].startswith("-"):
        return portable(*tokens[1:])  # whose flags are the command's own
    overrides: dict[str, object] = {}
    if tokens[:1] in (["run"], ["doctor"]):
        from flows.cli.flags import describe_flags, split_flags

        try:
            tokens, overrides = split_flags(tokens)
        except ValueError as error:
            return _refuse(error)
        if {"--help", "-h"} & set(tokens):
            app[tokens[0]].help_epilogue = describe_flags()
    if "--json" in tokens:
        reserve_stdout()
    try:
        command, bound, unparsed = app.parse_args(tokens, exit_on_error=False, print_error=False)
        given = {"overrides": overrides} if "overrides" in unparsed else {}
        return int(command(*bound.args, **bound.kwargs, **given) or 0)
    except CycloptsError as error:
        return _refuse_argument(error)
    except (ValueError, RuntimeError) as error:
        from evo_core.config.parsing import ConfigError
        from evo_core.plugins.loading import PluginError
        from flows.settings import BadInput, Failed
        from tasks.store.errors import DeniedError, StoreError, UnsafeError

        if isinstance(error, ConfigError | PluginError | BadInput | DeniedError | UnsafeError):
            return _refuse(error)
        if isinstance(error, StoreError | Failed):
            _refuse(error)
            return FAILED
        raise


def _refuse_argument(error: CycloptsError) -> int:
    """Report an invalid argument: invalid values with our own messages, everything else with those of cyclopts."""
    if isinstance(error, ValidationError) and error.argument is not None:
        return _refuse(f"{error.argument.name}: {error.exception_message}")
    (error.console or app.error_console).print(CycloptsPanel(error))
    return BAD_INPUT


def _refuse(error: Exception | str) -> int:
    print(f"evolve: {error}".replace("\n", "\n        "), file=sys.stderr)
    return BAD_INPUT
