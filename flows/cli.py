"""The command line. Nothing heavy is imported before a command runs: `evolve --help` answers at once."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from flows.output import reserve_stdout

FAILED, BAD_INPUT = 1, 2

app = App(
    name="evolve",
    help="Evolve a population of PPO agents and their hyperparameters in one run.",
    version_flags=["--version"],
    help_format="plaintext",
    result_action="return_value",
)

Store = Annotated[
    str | None, Parameter(help="Where runs are kept: a directory, file:///… or s3://bucket/prefix [runs].")
]
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object on standard output, and nothing else there.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Operational:
    """Where a run is kept and computed; None leaves it to the environment (EVOLVE_STORE, …) and the defaults."""

    store: Store = None
    study: Annotated[str | None, Parameter(help="Optuna database of the lineage [sqlite: study.db in the store].")] = (
        None
    )
    engine: Annotated[str | None, Parameter(help="local, or a Dask scheduler: tcp://host:8786 [local].")] = None
    workers: Annotated[int | None, Parameter(help="Local worker processes [one per core].")] = None
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, Parameter(help="Device to learn on [auto].")] = None


DEFAULTS = Operational()
_overrides: dict[str, object] = {}


@app.command
def run(
    *,
    config: Annotated[Path | None, Parameter(help="Configuration file (YAML).")] = None,
    run_id: Annotated[str | None, Parameter(help="Name of the run; an equal one is continued [made up].")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Show configuration and networks; run nothing.")] = False,
) -> int:
    """Evolve a population. Every field of the configuration is a flag too: --algorithm.lr 3e-4."""
    from flows.commands.run import dry_run as preview
    from flows.commands.run import start
    from flows.flags import load_config

    loaded = load_config(config, _overrides)
    if dry_run:
        return preview(loaded, json=json)
    return start(loaded, run_id, asdict(operational), json=json)


@app.command
def resume(
    run_id: str,
    /,
    *,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Go on with a run from its last COMMIT and its finished members, with its own configuration."""
    from flows.commands.run import go_on

    return go_on(run_id, asdict(operational), json=json)


@app.command
def status(run_id: str | None = None, /, *, store: Store = None, json: Json = False) -> int:
    """Show how far a run is, or list the runs of a store."""
    from flows.commands.status import show

    return show(run_id, store, json=json)


@app.command
def doctor(*, store: Store = None, json: Json = False) -> int:
    """Check this installation: versions, shadowed packages, Prefect API, store, device."""
    from flows.commands.doctor import examine

    return examine(store, json=json)


def main() -> None:
    """Run the command line; exit codes: 0 fine, 1 the run failed, 2 bad input, 3 trained, but a view is behind."""
    sys.exit(_main(sys.argv[1:]))


def _main(tokens: list[str]) -> int:
    if tokens[:1] == ["run"]:
        from flows.flags import describe_flags, split_flags

        try:
            tokens, overrides = split_flags(tokens)
        except ValueError as error:
            return _refuse(error)
        _overrides.clear()
        _overrides.update(overrides)
        app["run"].help_epilogue = describe_flags()
    if "--json" in tokens:
        reserve_stdout()
    try:
        return int(app(tokens, exit_on_error=False, print_error=True) or 0)
    except CycloptsError:
        return BAD_INPUT
    except (ValueError, RuntimeError) as error:
        from evo_core.loading import ConfigError
        from flows.settings import BadInput
        from tasks.store.errors import DeniedError, StoreError

        if isinstance(error, ConfigError | BadInput | DeniedError):
            return _refuse(error)
        if isinstance(error, StoreError):
            _refuse(error)
            return FAILED
        raise


def _refuse(error: Exception) -> int:
    print(f"evolve: {error}".replace("\n", "\n        "), file=sys.stderr)
    return BAD_INPUT
