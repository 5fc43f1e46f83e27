"""evolve gc: release checkpoints that a run no longer needs."""

from typing import Annotated

from cyclopts import Parameter

from evo_core.config.bounds import MOST_GENERATIONS
from flows.cli.arguments import Json, Run, Store, number
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.runs import open_ref
from tasks.runs import retention


def gc(
    run_id: Run,
    /,
    *,
    keep_generations: Annotated[
        int, number("Generations whose checkpoints are all kept.", 1, MOST_GENERATIONS)
    ] = retention.KEPT_GENERATIONS,
    dry_run: Annotated[bool, Parameter(negative="", help="List what would be released; delete nothing.")] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Release checkpoints that a run no longer needs; elites, parents and records are kept. Safe while the run is
    running."""
    settings = read_settings({"store": store})
    settings.export()
    run = open_ref(run_id).open()
    plan = retention.plan(run, keep_generations) if dry_run else retention.collect(run, keep_generations)
    if json:
        emit({"run_id": run_id, "dry_run": dry_run, "blobs": list(plan.blobs), "bytes": plan.size})
        return 0
    for sha in plan.blobs if dry_run else ():
        print(sha)
    verb = "would be released" if dry_run else "released"
    print(f"{run_id}: {len(plan.blobs)} checkpoints {verb}, {plan.size / 1e6:.1f} MB")
    return 0
