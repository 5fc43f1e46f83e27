"""evolve run: begin a run, or preview it. Imports nothing heavy until it runs."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.arguments import DEFAULTS, NO_OVERRIDES, Json, Operational, Overrides
from flows.cli.output import emit

if TYPE_CHECKING:
    from evo_core.config.run_config import RunConfig
    from flows.cli.session import Start
    from flows.settings import Settings


def run(
    *,
    config: Annotated[
        Path | None, Parameter(help="Configuration file (YAML), or a name that `evolve configs` lists.")
    ] = None,
    run_id: Annotated[str | None, Parameter(help="Name of the run; an existing one is continued [generated].")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Show configuration and networks; run nothing.")] = False,
    overrides: Overrides = NO_OVERRIDES,
) -> int:
    """Evolve a population. Every field of the configuration is a flag too: --algorithm.lr 3e-4."""
    from flows.cli.flags import load_config

    loaded = load_config(config, overrides)

    from flows.cli.session import read_settings, run_flow

    settings = read_settings(asdict(operational))
    if dry_run:
        return _preview(loaded, settings, json=json)
    return run_flow(prepare(loaded, run_id, settings), json=json)


def prepare(config: "RunConfig", run_id: str | None, settings: "Settings") -> "Start":
    """Refuse what cannot run before anything is written, and export the settings to this process's environment.

    A run id that exists is continued with its own configuration.
    """
    from evo_core.evaluation.preflight import preflight
    from flows.cli.session import Start
    from flows.prefect_server.api import configured_api
    from flows.runs import check_run, fresh_run_id, open_ref

    settings.check_reach(configured_api())
    settings.check_trackers()
    preflight(config, settings.packages)
    settings.export()
    exists = run_id is not None and check_run(settings, config, run_id)
    if run_id is not None and exists:
        config = open_ref(run_id).config.with_instances(config.env.max_instances)
    return Start(config, run_id or fresh_run_id(config), settings, exists)


def _preview(config: "RunConfig", settings: "Settings", *, json: bool) -> int:
    """Print the resolved configuration, networks, parameter counts and addresses; write nothing."""
    from evo_core.envs.notices import notices
    from evo_core.evaluation.preflight import preflight
    from evo_core.genome.genome import initial_genome
    from evo_core.networks.actor_critic import ActorCritic
    from flows.prefect_server.api import describe_api, find_api
    from tasks.logs.redaction import without_password

    environment = preflight(config, settings.packages)
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
        "steps_per_line": config.line_steps,
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
