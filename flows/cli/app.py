"""The command line. Heavy modules are imported only when a command runs, so `evolve --help` is fast."""

import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, CycloptsPanel, Parameter, ValidationError

from evo_core.config.bounds import MOST_GENERATIONS
from flows.cli.arguments import (
    DEFAULTS,
    LONGEST_ARGUMENT,
    Generations,
    Json,
    Operational,
    Steps,
    Store,
    Study,
    Target,
    number,
)
from flows.cli.output import reserve_stdout
from flows.cli.results_app import evaluate, export, lineage, replay, report, watch
from flows.prefect_server.proxies import bypass_proxies

FAILED, BAD_INPUT = 1, 2

app = App(
    name="evolve",
    help="Evolve a population of PPO agents and their hyperparameters in one run.",
    version=lambda: version("evolve-rl"),
    version_flags=["--version"],
    help_format="plaintext",
    result_action="return_value",
)

for command in (report, lineage, replay, evaluate, watch, export):
    app.command(command)

_overrides: dict[str, object] = {}


@app.command
def run(
    *,
    config: Annotated[
        Path | None, Parameter(help="Configuration file (YAML), or a name that `evolve configs` lists.")
    ] = None,
    run_id: Annotated[str | None, Parameter(help="Name of the run; an equal one is continued [made up].")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Show configuration and networks; run nothing.")] = False,
) -> int:
    """Evolve a population. Every field of the configuration is a flag too: --algorithm.lr 3e-4."""
    from flows.cli.flags import load_config
    from flows.cli.run import dry_run as preview
    from flows.cli.run import start

    loaded = load_config(config, _overrides)
    if dry_run:
        return preview(loaded, asdict(operational), json=json)
    return start(loaded, run_id, asdict(operational), json=json)


@app.command
def configs(*, json: Json = False) -> int:
    """List the ready configurations: evolve run --config cartpole."""
    from flows.cli.config_list import list_configs

    return list_configs(json=json)


@app.command
def resume(
    run: str,
    /,
    *,
    extend: Steps = None,
    target: Target = None,
    from_generation: Annotated[
        int | None,
        number("Leave the run as it is, and continue from this generation under another id.", 0, MOST_GENERATIONS),
    ] = None,
    run_id: Annotated[str | None, Parameter(help="With --from-generation: the new run's id [made up].")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Continue a run from its last COMMIT and its finished members, with its own configuration."""
    from flows.cli.run import Change, resume_run

    return resume_run(run, asdict(operational), Change(extend, target, from_generation, run_id), json=json)


@app.command
def status(run_id: str | None = None, /, *, store: Store = None, json: Json = False) -> int:
    """Show the progress of a run, or list the runs of a store with their state."""
    from flows.cli.status import show

    return show(run_id, store, json=json)


@app.command
def verify(
    run: str,
    /,
    *,
    recompute: Annotated[
        str | None, Parameter(help="Run one member again, such as g0003/m05, and compare what comes out.")
    ] = None,
    repair: Annotated[
        bool, Parameter(negative="", help="Compute what is damaged again; replace it if its hash matches.")
    ] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Check every object of a run: hashes, links, selections; exit code 1 when something is missing or damaged."""
    from flows.cli.verify import check, check_member

    if recompute is not None:
        return check_member(run, recompute, store, json=json)
    return check(run, store, repair=repair, json=json)


@app.command
def gc(
    run: str,
    /,
    *,
    keep_generations: Generations = 3,
    dry_run: Annotated[bool, Parameter(negative="", help="List what would be released; delete nothing.")] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Release checkpoints that a run no longer needs; elites, parents and records are kept. Safe while the run is
    running."""
    from flows.cli.gc import collect_garbage

    return collect_garbage(run, keep_generations, store, dry_run=dry_run, json=json)


@app.command
def delete(
    run: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", help="Delete without asking.")] = False,
    store: Store = None,
    study: Study = None,
    json: Json = False,
) -> int:
    """Delete a run permanently: its records, checkpoints and study. A running run is not deleted."""
    from flows.cli.delete import delete as remove

    return remove(run, store, study, yes=yes, json=json)


@app.command
def doctor(
    env: str | None = None,
    /,
    *,
    config: Annotated[Path | None, Parameter(help="Check the environment, wrappers and network of this file.")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Check the installation, or an environment given by its id, a configuration file or flags such as --env.id.

    Checks of an environment: spaces, networks, Gymnasium's checker, determinism under a seed, state in wrappers, a
    trial in a worker process, and speed. Takes the flags of `evolve run`.
    """
    from flows.cli.doctor import examine

    return examine(env, config, asdict(operational), _overrides, json=json)


@app.command(name="import-agilerl")
def import_agilerl(
    manifest: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(help="File to write [print it].")] = None,
    json: Json = False,
) -> int:
    """Convert a configuration of AgileRL's PPO: a manifest, or INIT_HP, MUTATION_PARAMS and NET_CONFIG.

    YAML, JSON, or Python whose dictionaries have these names; Python is read, not run. Fields without a counterpart and
    changed values are reported.
    """
    from flows.cli.import_agilerl import import_manifest

    return import_manifest(manifest, output, json=json)


@app.command
def portable(*command: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Run any command, such as one that starts a worker, and its child processes with portable numerics."""
    from flows.cli.portable import run_portably

    return run_portably(command)


def main() -> None:
    """Run the command line; exit codes: 0 fine, 1 the run failed, 2 bad input, 3 trained, but a view is behind."""
    from flows.cli.portable import restart_portably, wants_portable

    if wants_portable(sys.argv[1:], os.environ):
        restart_portably()
    sys.exit(_main(sys.argv[1:]))


def _main(tokens: list[str]) -> int:
    if (longest := max(map(len, tokens), default=0)) > LONGEST_ARGUMENT:
        return _refuse(f"expected arguments of at most {LONGEST_ARGUMENT} characters, got one of {longest}")
    bypass_proxies()
    if tokens[:1] == ["portable"] and tokens[1:] and not tokens[1].startswith("-"):
        return portable(*tokens[1:])  # whose flags are the command's own
    if tokens[:1] in (["run"], ["doctor"]):
        from flows.cli.flags import describe_flags, split_flags

        try:
            tokens, overrides = split_flags(tokens)
        except ValueError as error:
            return _refuse(error)
        _overrides.clear()
        _overrides.update(overrides)
        app[tokens[0]].help_epilogue = describe_flags()
    if "--json" in tokens:
        reserve_stdout()
    try:
        return int(app(tokens, exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        return _refuse_argument(error)
    except (ValueError, RuntimeError) as error:
        from evo_core.config.parsing import ConfigError
        from flows.settings import BadInput, Failed
        from tasks.store.errors import DeniedError, StoreError, UnsafeError

        if isinstance(error, ConfigError | BadInput | DeniedError | UnsafeError):
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
