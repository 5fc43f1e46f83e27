"""evolve run and evolve resume: run the flow in this process and show its progress."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from evo_core.config.run_config import RunConfig
from flows.cli.ending import ExitReport
from flows.cli.output import emit
from flows.prefect_server.api import configured_api, describe_api, find_api, require_configured_api
from flows.prefect_server.embedded import prefect_api
from flows.settings import BadInput, Settings
from tasks.logs.redaction import without_password

if TYPE_CHECKING:
    from flows.outcome import RunSummary

Operational = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Change:
    """Changes of a resumed run: a new total budget, a new target, or a generation to fork from."""

    extend: int | None = None
    target: float | None = None
    from_generation: int | None = None
    run_id: str | None = None


def start(config: RunConfig, run_id: str | None, operational: Operational, *, json: bool) -> int:
    """Start a run, or continue the one of that id if its configuration is the same."""
    from evo_core.envs.making import require_known
    from flows.runs import check_run, fresh_run_id, open_ref

    settings = read_settings(operational)
    require_known(config.env, settings.packages)  # a misspelled name is refused before torch is imported
    from evo_core.envs.inspection import check_environment

    settings.check_reach(configured_api())
    settings.check_trackers()
    check_environment(config, settings.packages)  # refuses before anything is written
    settings.export()
    exists = run_id is not None and check_run(settings, config, run_id)
    if run_id is not None and exists:
        config = open_ref(run_id).config.with_instances(config.env.max_instances)
    return _run(config, run_id or fresh_run_id(config), settings, json=json, exists=exists)


def resume_run(run_id: str, operational: Operational, change: Change, *, json: bool) -> int:
    """Continue a run with its own configuration; before that, fork it or raise its budget if requested."""
    from flows.runs import fresh_run_id, open_ref

    settings = read_settings(operational)
    settings.export()
    open_ref(run_id)  # a misspelled name is refused before torch is imported
    from flows.run_changes import extend_run, fork_run

    settings.check_reach(configured_api())
    settings.check_trackers()
    if change.from_generation is not None:
        new_id = change.run_id or fresh_run_id(open_ref(run_id).config)
        fork_run(settings, run_id, change.from_generation, new_id, change.extend, change.target)
        run_id = new_id
    elif change.run_id is not None:
        raise BadInput("--run-id: names the fork that --from-generation makes; give both, or neither")
    if change.extend is not None or change.target is not None:
        extend_run(settings, run_id, change.extend, change.target)
    return _run(open_ref(run_id).config, run_id, settings, json=json, exists=True)


def dry_run(config: RunConfig, operational: Operational, *, json: bool) -> int:
    """Print the resolved configuration, networks, parameter counts and addresses; write nothing."""
    from evo_core.envs.inspection import check_environment
    from evo_core.envs.notices import notices
    from evo_core.genome.genome import initial_genome
    from evo_core.networks.actor_critic import ActorCritic

    settings = read_settings(operational)
    environment = check_environment(config, settings.packages)
    genome = initial_genome(config, environment.spaces.observation)
    network = ActorCritic(genome, environment.spaces)
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    preview = {
        "config": config.model_dump(mode="json"),
        "store": settings.store_url,
        "study": without_password(settings.study_url),
        "prefect": describe_api(find_api()),
        "observation_space": str(environment.spaces.observation),
        "action_space": str(environment.spaces.action),
        "architecture": genome.architecture.model_dump(mode="json"),
        "parameters": {**parts, "total": sum(parts.values())},
        "generations": config.max_generations,
        "steps_per_generation": config.generation_steps,
        "left_over_steps": config.left_over_steps,
    }
    if json:
        emit(preview)
        return 0
    from tasks.yaml_text import dump_yaml

    print(dump_yaml(preview), end="")
    for notice in notices(config, environment):
        print(f"warning: {notice}", file=sys.stderr)
    return 0


def read_settings(operational: Operational) -> Settings:
    """Read settings from flags, else from the environment; raise BadInput that names an invalid one."""
    from pydantic import ValidationError

    try:
        given: dict[str, Any] = {name: value for name, value in operational.items() if value is not None}
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        flag, reason = str(first["loc"][0]).replace("_", "-"), first["msg"].removeprefix("Value error, ")
        got = "" if "got" in reason else f", got {first['input']!r}"
        raise BadInput(f"--{flag}: {reason.replace('Input should be', 'expected')}{got}") from None


def _run(config: RunConfig, run_id: str, settings: Settings, *, json: bool, exists: bool) -> int:
    """Run the flow, embedded when no Prefect API is configured; print the outcome."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the UI keeps the whole log
    console = Console(stderr=json)
    began = time.monotonic()
    summary, failure, began_work, failures = None, None, False, list[dict[str, object]]()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        summary = _already_finished(config, run_id, settings) if exists else None
        if summary is None:
            print(f"Prefect: {describe_api(require_configured_api())}", file=sys.stderr)
            began_work = True
            console.print("starting Prefect and the workers …", style="dim")
            with prefect_api():
                summary = _evolve(config, run_id, console, failures)
    except BaseException as error:  # reported with the command to continue, also for Ctrl-C and SIGTERM
        if isinstance(error, BadInput) and not began_work:
            raise
        failure = error
    report = ExitReport(run_id, config, settings, summary, failure, time.monotonic() - began, failures)
    if json:
        emit(report.as_json())
    report.show(console)
    return report.exit_code


def _already_finished(config: RunConfig, run_id: str, settings: Settings) -> "RunSummary | None":
    """Summarize a run that has nothing left to do without starting anything, and update its views."""
    from flows.outcome import stored_ending, summarize
    from flows.runs import open_run
    from flows.views.sync import Views, catch_up

    run = open_run(settings, config, run_id)
    head = run.open().head()
    ending = stored_ending(run, head)
    if head is None or ending is None:
        return None
    with Views(run, settings, catch_up) as views:
        views.record(head)
        summary = summarize(run_id, head, ending)
        return summary.model_copy(update={"behind": views.close(summary)})


def _interrupt(number: int, frame: object) -> None:
    """Handle SIGTERM like Ctrl-C: stop workers and server, and print how to continue."""
    raise KeyboardInterrupt


def _evolve(config: RunConfig, run_id: str, console: Console, failures: list[dict[str, object]]) -> "RunSummary":
    from prefect.logging.handlers import APILogHandler

    from flows.evolve import evolve
    from flows.observers.failure_list import Failures
    from flows.observers.observer import also_watched_by, watched_by
    from flows.observers.terminal import display
    from flows.prefect_server.stored_results import no_stored_results
    from tasks.logs.lost_connections import silence_lost_connections

    silence_lost_connections()
    kept = Failures()
    try:
        with (
            no_stored_results(),
            display(console, config) as observer,
            watched_by(observer),
            also_watched_by(kept),
        ):
            return evolve(config, run_id)
    finally:
        failures += kept.as_dicts()
        APILogHandler().flush()  # the embedded server is about to stop
