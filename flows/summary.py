"""How a run ended; and telling from the store alone whether it has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evo_core.config import RunConfig
from evo_core.confirmation import Confirm, deliver, reaches_target
from evo_core.records import Confirmation, EliteRef, Generation, record_hash
from flows.next_steps import evolve_command, store_flag
from flows.settings import BadInput
from tasks.ref import RunRef
from tasks.view import Ending


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


def ended(config: RunConfig, head: Generation, confirm: Confirm) -> bool:
    """Tell whether nothing is left to train: the budget is spent, or the target is confirmed."""
    return reaches_target(config, head, confirm) or head.generation >= config.max_generations


def summarise(run_id: str, config: RunConfig, head: Generation, confirm: Confirm) -> RunSummary:
    """Choose whom to deliver, and say how the run ended."""
    reached = reaches_target(config, head, confirm)
    elite, confirmed = deliver(head, confirm)
    return RunSummary(
        run_id=run_id,
        status="target_reached" if reached else "budget_spent",
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
        """Say why it is this one."""
        if self.status != "unfinished":
            return "the delivered agent"
        return f"the elite of generation {self.elite.generation}; the run is not finished"


def delivery(run: RunRef) -> Delivery:
    """Tell whom a run delivers; BadInput before its first generation is finished."""
    done = finished(run)
    if done is not None:
        return Delivery(done[0].elite, done[0].confirmed, done[0].status.replace("_", " "))
    head = run.open().head()
    if head is None or head.elite is None:
        command = evolve_command("resume", run.run_id, **store_flag())
        raise BadInput(f"run {run.run_id} has finished no generation yet; `{command}` goes on with it")
    return Delivery(head.elite, None, "unfinished")


def _stored(find: Callable[[int], Confirmation | None]) -> Confirm:
    def confirm(elite: EliteRef) -> Confirmation:
        record = find(elite.generation)
        if record is None or record.uid != elite.uid:
            raise _NotConfirmed
        return record

    return confirm
