"""The outcome of a run: its final status, determined from the store, and the delivered agent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evo_core.evaluation.run_end import Confirm, Ending, NotConfirmed, find_ending
from evo_core.records.chain import Confirmation, EliteRef, Generation, record_hash
from flows.next_steps import evolve_command, store_flag
from flows.settings import BadInput
from tasks.runs import layout
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore


class RunSummary(BaseModel):
    """The outcome of a run."""

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
        """The outcome, as passed to views."""
        return Ending(self.status, self.elite, self.confirmed)


def stored_ending(run: RunRef, head: Generation | None) -> Ending | None:
    """Return how a run ended whose last COMMIT is `head`, from its store alone; None when it is unfinished."""
    return find_ending(run.config, head, _stored(run.open().confirmation))


def describe_status(ending: Ending | None) -> str:
    """Return "target reached", "budget spent" or "unfinished"."""
    return "unfinished" if ending is None else ending.status.replace("_", " ")


def summarize(run_id: str, head: Generation, ending: Ending) -> RunSummary:
    """Summarize a run that has ended."""
    return RunSummary(
        run_id=run_id,
        status=ending.status,
        generations=head.generation,
        train_steps=head.train_steps,
        eval_steps=head.eval_steps,
        elite=ending.elite,
        confirmed=ending.confirmed,
        head=record_hash(head),
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivered agent; of an unfinished run its elite so far, or with further objectives the one that
    `evaluation.deliver` chooses from the front so far, as `choice` describes. `confirmed` is None if there was no
    confirmation.
    """

    elite: EliteRef
    confirmed: Confirmation | None
    status: str
    choice: str | None = None

    @property
    def why(self) -> str:
        """Return why this agent is the delivered one."""
        if self.status != "unfinished":
            return "the delivered agent"
        return f"{self.choice or f'the elite of generation {self.elite.generation}'}; the run is not finished"


def delivery(run: RunRef) -> Delivery:
    """Return the delivered agent of a run; raise BadInput before its first generation is finished."""
    head = run.open().head()
    if (ending := stored_ending(run, head)) is not None:
        return Delivery(ending.elite, ending.confirmed, describe_status(ending))
    if head is None or head.elite is None:
        command = evolve_command("resume", run.run_id, **store_flag())
        if (missing := missing_commit(run.open())) is not None:
            raise BadInput(describe_gap(missing, evolve_command("verify", run.run_id, "--repair", **store_flag())))
        raise BadInput(f"run {run.run_id} has finished no generation yet; `{command}` continues it")
    if head.front and head.best is not None:
        return Delivery(head.best, None, "unfinished", _describe_choice(run.config.evaluation.deliver, head))
    return Delivery(head.elite, None, "unfinished")


def delivery_by(run: RunRef, rule: str) -> tuple[str, str]:
    """Return the member of a run's front that a rule delivers, and why; raise BadInput for a run without objectives."""
    evaluation, head = run.config.evaluation, run.open().head()
    if not evaluation.objectives:
        raise BadInput(f"--deliver {rule}: run {run.run_id} has no evaluation.objectives, among whose front it chooses")
    if rule not in evaluation.delivery_rules:
        raise BadInput(f"--deliver {rule}: expected {', '.join(evaluation.delivery_rules)}")
    if head is None or not head.front:
        raise BadInput(f"run {run.run_id} has finished no generation yet, so there is no front to choose from")
    from evo_core.evolution.fronts import choose_from_front

    return choose_from_front(head.front, evaluation, rule).uid, _describe_choice(rule, head)


def _describe_choice(rule: str, head: Generation) -> str:
    said = "the knee" if rule == "knee" else f"best in {rule}"
    return f"{said} of a front of {len(head.front)}"


def missing_commit(run: RunStore) -> int | None:
    """Return the generation of the first COMMIT that is missing although a later one was begun, else None.

    A generation is begun only when the one before it is committed. Costs one listing; `evolve verify` checks more.
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


def _stored(find: Callable[[EliteRef], Confirmation | None]) -> Confirm:
    def confirm(elite: EliteRef) -> Confirmation:
        record = find(elite)
        if record is None or record.uid != elite.uid:
            raise NotConfirmed
        return record

    return confirm
