"""evolve resume: continue a run, with a larger budget, or as a fork. Imports nothing heavy until it runs."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from evo_core.config.bounds import LARGEST, MOST_GENERATIONS, SAFE_INTEGER
from flows.cli.arguments import DEFAULTS, Json, Operational, number


def resume(
    run: str,
    /,
    *,
    extend: Annotated[
        int | None, number("New TOTAL of training steps; the run continues with it.", 1, SAFE_INTEGER)
    ] = None,
    target: Annotated[
        float | None, number("New target; the run continues until it is reached.", -LARGEST, LARGEST)
    ] = None,
    from_generation: Annotated[
        int | None,
        number("Leave the run as it is, and continue from this generation under another id.", 0, MOST_GENERATIONS),
    ] = None,
    run_id: Annotated[str | None, Parameter(help="With --from-generation: the new run's id [generated].")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Continue a run from its last COMMIT and its finished members, with its own configuration."""
    from flows.cli.session import Start, read_settings, run_flow
    from flows.prefect_server.api import configured_api
    from flows.run_changes import extend_run, fork_run
    from flows.runs import fresh_run_id, open_ref
    from flows.settings import BadInput

    settings = read_settings(asdict(operational))
    settings.export()
    open_ref(run).require_plugins()
    settings.check_reach(configured_api())
    settings.check_trackers()
    if from_generation is not None:
        new_id = run_id or fresh_run_id(open_ref(run).config)
        fork_run(settings, run, from_generation, new_id, extend, target)
        run = new_id
    elif run_id is not None:
        raise BadInput("--run-id: names the fork that --from-generation makes; give both, or neither")
    if extend is not None or target is not None:
        extend_run(settings, run, extend, target)
    return run_flow(Start(open_ref(run).config, run, settings, exists=True), json=json)
