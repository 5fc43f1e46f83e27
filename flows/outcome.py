"""The outcome of a run: its final status, determined from the store, and the delivered agent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.confirmation import Confirm, deliver, reaches_target
from evo_core.records.chain import Confirmation, EliteRef, Generation, record_hash
from flows.next_steps import evolve_command, store_flag
from flows.settings import BadInput
from tasks.runs import layout
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore
from tasks.views.view import Ending


class RunSummary(BaseModel):
    """How a run ended."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: Literal["target_reached", "budget_spent"]
    generations: int
    train_steps: int
    eval_steps: int
    elite: EliteRef
    confirmed: Confirmation | None
    head: str
    behind: str | None = None

    @property
    def ending(self) -> Ending:
        """What views are told of it."""
        return Ending(self.status, self.elite, self.confirmed)


class _NotConfirmed(Exception):
    """A confirmation that decides how the run ends was not played yet."""


Status = Literal["target_reached", "budget_spent", "unfinished"]


def standing(config: RunConfig, head: Generation | None, confirm: Confirm) -> Status:
    """Return how a run has ended, or that it has not: the one answer of summaries, `evolve status` and views.

    The target is reached only where evaluation and confirmation both say so. With stored confirmations alone, a target
    whose confirmation was not played is not reached yet.
    """
    if head is None or head.elite is None:
        return "unfinished"
    try:
        if reaches_target(config, head, confirm):
            return "target_reached"
    except _NotConfirmed:
        pass
    return "budget_spent" if head.generation >= config.max_generations else "unfinished"


def stored_standing(run: RunRef, head: Generation | None) -> Status:
    """Return how a run has ended, or that it has not, from its store alone."""
    return standing(run.config, head, _stored(run.open().confirmation))


def ended(config: RunConfig, head: Generation, confirm: Confirm) -> bool:
    """Return True if training is complete: the budget is spent, or the target is confirmed."""
    return reaches_target(config, head, confirm) or head.generation >= config.max_generations


def summarise(run_id: str, config: RunConfig, head: Generation, confirm: Confirm) -> RunSummary:
    """Choose whom to deliver, and say how the run ended."""
    status = standing(config, head, confirm)
    assert status != "unfinished"
    elite, confirmed = deliver(head, confirm)
    return RunSummary(
        run_id=run_id,
        status=status,
        generations=head.generation,
        train_steps=head.train_steps,
        eval_steps=head.eval_steps,
        elite=elite,
        confirmed=confirmed,
        head=record_hash(head),
    )


def finished(run: RunRef, head: Generation | None = None) -> tuple[RunSummary, Generation] | None:
    """Summarise a run that has nothing left to do, with its head; None when there is something.

    With `head`, as if that were the last COMMIT.
    """
    store = run.open()
    head = head or store.head()
    if head is None or head.elite is None:
        return None
    confirm = _stored(store.confirmation)
    try:
        if ended(run.config, head, confirm):
            return summarise(run.run_id, run.config, head, confirm), head
    except _NotConfirmed:
        pass
    return None


@dataclass(frozen=True, slots=True)
class Delivery:
    """Whom a run delivers; while it is unfinished, the elite so far. `confirmed` is None where it was not played."""

    elite: EliteRef
    confirmed: Confirmation | None
    status: str

    @property
    def why(self) -> str:
        """Return why this agent is the delivered one."""
        if self.status != "unfinished":
            return "the delivered agent"
        return f"the elite of generation {self.elite.generation}; the run is not finished"


def delivery(run: RunRef) -> Delivery:
    """Return the agent that a run delivers; raise BadInput before its first generation is finished."""
    done = finished(run)
    if done is not None:
        return Delivery(done[0].elite, done[0].confirmed, done[0].status.replace("_", " "))
    head = run.open().head()
    if head is None or head.elite is None:
        command = evolve_command("resume", run.run_id, **store_flag())
        if (missing := missing_commit(run.open())) is not None:
            raise BadInput(describe_gap(missing, evolve_command("verify", run.run_id, "--repair", **store_flag())))
        raise BadInput(f"run {run.run_id} has finished no generation yet; `{command}` goes on with it")
    return Delivery(head.elite, None, "unfinished")


def missing_commit(run: RunStore) -> int | None:
    """Return the generation of the first COMMIT that is missing although a later one was begun, else None.

    A generation is begun only when the one before it is committed. One listing; `evolve verify` looks at all.
    """
    last = run.last(layout.commit)
    following = 0 if last is None else last + 1
    begun = [int(name) for name in run.store.children(run.key("gen")) if name.isdigit()]
    return following if max(begun, default=0) > following else None


def describe_gap(generation: int, command: str) -> str:
    """Return a message about a missing COMMIT, and the command that may restore it."""
    return (
        f"COMMIT {generation} is missing, although later generations were begun: part of the store was lost, and "
        f"nothing behind it is counted; restore it from a copy, or try {command}"
    )


def _stored(find: Callable[[int], Confirmation | None]) -> Confirm:
    def confirm(elite: EliteRef) -> Confirmation:
        record = find(elite.generation)
        if record is None or record.uid != elite.uid:
            raise _NotConfirmed
        return record

    return confirm
