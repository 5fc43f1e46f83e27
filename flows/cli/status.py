"""evolve status: show the state of a run, from its store alone."""

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from evo_core.records.chain import Generation, Member, record_hash
from flows.cli.arguments import Json, Store
from flows.cli.output import emit, make_console
from flows.cli.run_list import list_runs
from flows.cli.session import read_settings
from flows.next_steps import evolve_command, store_flag
from flows.observers.failure_list import as_dict
from flows.observers.terminal import describe_confirmation, describe_generation
from flows.outcome import describe_gap, describe_status, missing_commit, stored_ending
from flows.runs import open_ref
from tasks.runs.failed_members import failed_attempt, failed_members
from tasks.runs.ref import RunRef
from tasks.runs.run_records import FailedMember
from tasks.runs.run_store import RunStore
from tasks.views.phrases import (
    describe_detail,
    describe_evaluation_steps,
    describe_failure,
    describe_fitness,
    describe_genes,
    describe_left_over,
    describe_number,
    describe_origin,
    describe_population,
    describe_target,
    objective_cells,
)

WIDE = 110
"""Width of the terminal, in columns, from which hyperparameters are shown."""


def status(run_id: str | None = None, /, *, store: Store = None, json: Json = False) -> int:
    """Show the progress of a run, or list the runs of a store with their state."""
    settings = read_settings({"store": store})
    settings.export()
    if run_id is None:
        return list_runs(settings, json=json)
    ref = open_ref(run_id)
    run = ref.open()
    head = run.head()
    if json:
        emit(_as_json(ref, run, head))
    else:
        _print(make_console(), ref, run, head)
    return 0


def _as_json(ref: RunRef, run: RunStore, head: Generation | None) -> dict[str, object]:
    members, ending = _running(run, head), stored_ending(ref, head)
    return {
        "run_id": ref.run_id,
        "store": ref.store_url,
        "generations": head.generation if head else 0,
        "max_generations": ref.config.max_generations,
        "train_steps": head.train_steps if head else 0,
        "eval_steps": head.eval_steps if head else 0,
        "elite": head.elite.model_dump(mode="json") if head and head.elite else None,
        "best": head.best.model_dump(mode="json") if head and head.best else None,
        **({"front": [one.model_dump(mode="json") for one in head.front]} if head and head.front else {}),
        "head": record_hash(head) if head else None,
        "target": ref.config.training.target,
        "fitness": ref.config.evaluation.objective.summary,
        "status": ending.status if ending else "unfinished",
        "missing_commit": missing_commit(run),
        "finished_members_of_next_generation": sum(member is not None for member in members),
        "failures": _as_dicts(failed_members(run, head.members) if head else {}),
        "last_failed_attempt": _as_dicts(_failed_attempt(run, head)),
    }


def _print(console: Console, ref: RunRef, run: RunStore, head: Generation | None) -> None:
    config = ref.config
    console.print(f"run {ref.run_id} in {ref.store_url}: {config.env.id}, population {describe_population(config)}")
    if (missing := missing_commit(run)) is not None:
        command = evolve_command("verify", ref.run_id, "--repair", **store_flag())
        console.print(describe_gap(missing, command), highlight=False, markup=False, soft_wrap=True)
    elif head is None or not head.members:
        console.print("no generation is finished yet")
    if head is not None and head.members:
        if not config.evaluation.objective.is_mean_return:
            console.print(f"fitness: {config.evaluation.objective.oriented_title}", highlight=False)
        for objective in config.evaluation.objectives:
            console.print(f"objective: {objective.oriented_title}", highlight=False)
        console.print(describe_generation(head, config), highlight=False)
        console.print(f"evaluation {describe_evaluation_steps(head.eval_steps, head.train_steps)}", highlight=False)
        console.print(members_table(head, console.width))
        for line in _reasons(failed_members(run, head.members)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        elites = {one.uid: one for one in (head.elite, head.best if head.front else None) if one is not None}
        for elite in elites.values():
            if (confirmation := run.confirmation(elite)) is not None:
                console.print(describe_confirmation(confirmation), highlight=False)
    ending, target = stored_ending(ref, head), config.training.target
    spent = ending is not None and ending.status == "budget_spent"
    aim = "" if target is None else f", target {describe_target(config)}{' not reached' if spent else ''}"
    console.print(f"{describe_status(ending)}{aim}", highlight=False)
    if spent and (left_over := describe_left_over(config)):
        console.print(left_over, highlight=False, soft_wrap=True)
    if ending is None:
        members = _running(run, head)
        done = sum(member is not None for member in members)
        command = evolve_command("resume", ref.run_id, **store_flag())
        said = f"next generation: {done} of {len(members)} members finished; continue: {command}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
        for line in _reasons(_failed_attempt(run, head)):
            console.print(f"last attempt at it: {line}", highlight=False, markup=False, soft_wrap=True)


def _failed_attempt(run: RunStore, head: Generation | None) -> dict[str, FailedMember]:
    """Return the failures of the last attempt at the next generation, if too few members finished."""
    attempt = failed_attempt(run, head.generation + 1) if head else None
    return attempt.members if attempt else {}


def _as_dicts(failed: Mapping[str, FailedMember]) -> list[dict[str, object]]:
    return [as_dict(uid, member) for uid, member in failed.items()]


def _reasons(failed: Mapping[str, FailedMember]) -> Iterator[str]:
    """Format why members failed; with the traceback lines once per fault."""
    causes: set[str] = set()
    for uid, member in failed.items():
        said, detail = "", member.detail
        if detail is not None:
            said = f": {detail.sentence if detail.cause in causes else describe_detail(detail)}"
            causes.add(detail.cause)
        yield f"{uid} {describe_failure(member.failure)}{said}"


def _running(run: RunStore, head: Generation | None) -> list[Member | None]:
    return [run.member(child.generation, child.index) for child in head.offspring] if head else []


def _mean_return(member: Member) -> str:
    mean = member.evaluation.mean_return if member.evaluation else None
    return "" if mean is None else describe_number(mean)


def members_table(head: Generation, width: int) -> Table:
    """Tabulate a generation's members, with hyperparameters if there is room."""
    wide = width >= WIDE
    returns = any(member.evaluation and member.evaluation.other_mean_return is not None for member in head.members)
    objectives = list(objective_cells(head.members, head.members[0]))
    numbers = ["fitness", *(["mean return"] if returns else []), *objectives]
    names = [*numbers, *(["hyperparameters"] if wide else [])]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("member", "parent", "mutation", *names, "steps", "result"):
        right = name in (*numbers, "steps")
        table.add_column(name, justify="right" if right else "left", no_wrap=right or name in ("member", "parent"))
    for member in head.members:
        genes = [describe_genes(member.offspring.genome)] if wide else []
        result = describe_failure(member.failure) if member.failure else "finished"
        table.add_row(
            member.uid,
            member.offspring.parent or "–",
            describe_origin(member.offspring),
            describe_fitness(member),
            *([_mean_return(member)] if returns else []),
            *objective_cells(head.members, member).values(),
            *genes,
            f"{member.training.steps:,}",
            result,
        )
    return table
