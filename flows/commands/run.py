"""evolve run, evolve resume: the flow in this process, watched on the terminal."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console

from evo_core.config import RunConfig
from flows.commands.report import Report
from flows.output import emit
from flows.server import configured_api, prefect_api
from flows.settings import BadInput, Settings

if TYPE_CHECKING:
    from flows.evolve import RunSummary

Operational = Mapping[str, object]


def start(config: RunConfig, run_id: str | None, operational: Operational, *, json: bool) -> int:
    """Begin a run, or continue the one of that id if its configuration is the same."""
    from evo_core.envs import inspect_environment
    from flows.runs import check_run, fresh_run_id

    settings = read_settings(operational)
    settings.check_reach(configured_api())
    _check_device(settings)
    inspect_environment(config)  # refuses before anything is written
    if run_id is not None:
        check_run(settings, config, run_id)
    return _run(config, run_id or fresh_run_id(config), settings, json=json)


def go_on(run_id: str, operational: Operational, *, json: bool) -> int:
    """Continue a run with its own configuration."""
    from flows.runs import open_ref

    settings = read_settings(operational)
    settings.check_reach(configured_api())
    settings.export()
    _check_device(settings)
    return _run(open_ref(run_id).config, run_id, settings, json=json)


def dry_run(config: RunConfig, *, json: bool) -> int:
    """Print the resolved configuration, the networks and their parameter counts; write nothing."""
    from evo_core.envs import inspect_environment, notices
    from evo_core.genome import initial_genome
    from evo_core.networks.actor_critic import ActorCritic

    environment = inspect_environment(config)
    genome = initial_genome(config, environment.spaces.observation)
    network = ActorCritic(genome, environment.spaces)
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    preview = {
        "config": config.model_dump(mode="json"),
        "observation_space": str(environment.spaces.observation),
        "action_space": str(environment.spaces.action),
        "architecture": genome.architecture.model_dump(mode="json"),
        "parameters": {**parts, "total": sum(parts.values())},
        "generations": config.max_generations,
        "steps_per_generation": config.generation_steps,
    }
    if json:
        emit(preview)
        return 0
    import yaml

    print(yaml.safe_dump(preview, sort_keys=False, allow_unicode=True), end="")
    for notice in notices(config, environment):
        print(f"warning: {notice}", file=sys.stderr)
    return 0


def read_settings(operational: Operational) -> Settings:
    """Take settings from flags, else from the environment; BadInput names a wrong one."""
    from pydantic import ValidationError

    try:
        return Settings(**{name: value for name, value in operational.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None


def _check_device(settings: Settings) -> None:
    import torch

    if settings.device == "cuda" and settings.engine == "local" and not torch.cuda.is_available():
        raise BadInput(
            "--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch"
        )


def _run(config: RunConfig, run_id: str, settings: Settings, *, json: bool) -> int:
    """Run the flow, embedded when no Prefect API is configured; report how it ended."""
    settings.export()
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the UI keeps the whole log
    console = Console(stderr=json)
    began = time.monotonic()
    summary, failure = None, None
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        console.print("starting Prefect and the workers …", style="dim")
        with prefect_api():
            summary = _evolve(config, run_id, console)
    except BaseException as error:  # reported, with how to go on; Ctrl-C and SIGTERM among them
        failure = error
    report = Report(run_id, config, settings, summary, failure, time.monotonic() - began)
    if json:
        emit(report.as_json())
    report.show(console)
    return report.exit_code


def _interrupt(number: int, frame: object) -> None:
    """Let SIGTERM end a run as Ctrl-C does: workers and server stopped, the way to go on printed."""
    raise KeyboardInterrupt


def _evolve(config: RunConfig, run_id: str, console: Console) -> "RunSummary":
    from prefect.logging.handlers import APILogHandler

    from flows.display import display
    from flows.evolve import evolve
    from flows.observer import watched_by

    try:
        with display(console, config) as observer, watched_by(observer):
            return evolve(config, run_id)
    finally:
        APILogHandler().flush()  # the embedded server is about to end
