"""evolve gc: release checkpoints that a run no longer needs."""

from flows.cli.output import emit
from flows.cli.run import read_settings
from flows.runs import open_ref
from flows.settings import BadInput
from tasks.runs import retention


def collect_garbage(run_id: str, keep_generations: int, store: str | None, *, dry_run: bool, json: bool) -> int:
    """Release checkpoints according to tasks/runs/retention.py, or list them."""
    if keep_generations < 1:
        raise BadInput(f"--keep-generations: expected at least 1, got {keep_generations}")
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
