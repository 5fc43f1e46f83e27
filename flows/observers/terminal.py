"""Terminal output during a run: a live table, or plain lines if the output is not a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Confirmation, FailureDetail, Generation, Member, Offspring, Training
from flows.observers.observer import Observer
from tasks.views.phrases import (
    describe_detail,
    describe_failure,
    describe_fitness,
    describe_generations,
    describe_interval,
    describe_left_over,
    describe_mean_return,
    describe_number,
    describe_objective,
    describe_origin,
    describe_population,
    describe_score,
    written_genes,
)

WAITING = "waiting"
"""Phase of a member that no worker has begun."""

SHOWN_MEMBERS = 24
"""Rows of the live table; the best of a larger population."""


class LineObserver(Observer):
    """Observer that prints one line per event."""

    def __init__(self, console: Console, config: RunConfig) -> None:
        self._console, self._config = console, config
        self._clock = time.monotonic()
        self._start_steps = 0
        self._training: set[str] = set()
        self._causes: set[str] = set()

    def began(self, run_id: str, head: Generation) -> None:
        """Report where the run starts."""
        self._clock, self._start_steps = time.monotonic(), head.train_steps
        self._console.print(describe_beginning(run_id, head, self._config), highlight=False, soft_wrap=True)

    def progressed(self, uid: str, steps: int) -> None:
        """Record the members trained in this session; called from another thread."""
        self._training.add(uid)

    def trained(self, record: Training) -> None:
        """Exclude members that were already stored from the rate."""
        if record.uid not in self._training:
            self._start_steps += record.steps

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Report why a member failed; if the same fault occurs again, without the traceback lines."""
        if member.failure is None:
            return
        said, known = "", detail is not None and detail.cause in self._causes
        if detail is not None:
            self._causes.add(detail.cause)
            said = f": {detail.sentence if known else describe_detail(detail)}"
        self.warned(f"{member.uid} {describe_failure(member.failure)}{said}")

    def committed(self, head: Generation) -> None:
        """Report the result of the generation."""
        self._console.print(
            describe_generation(head, self._config, self._rate(head) or None), highlight=False, soft_wrap=True
        )

    def confirmed(self, record: Confirmation) -> None:
        """Report the score of a checkpoint on fresh seeds."""
        self._console.print(describe_confirmation(record), highlight=False, soft_wrap=True)

    def warned(self, message: str) -> None:
        """Report a warning."""
        self._console.print(f"warning: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def _rate(self, head: Generation) -> float:
        return (head.train_steps - self._start_steps) / max(time.monotonic() - self._clock, 1e-9)


@dataclass(slots=True)
class Row:
    """Row of the live table: one member."""

    offspring: Offspring
    steps: int = 0
    phase: str = WAITING
    result: Member | None = None


@dataclass(slots=True)
class LiveState:
    """Contents of the live table."""

    rows: dict[str, Row] = field(default_factory=dict)
    generation: int = 0
    finished_steps: int = 0


class LiveObserver(LineObserver):
    """Observer that shows a live table of the running generation below the lines of the finished ones.

    `unseen` is shown for members of which nothing was heard yet.
    """

    def __init__(self, console: Console, config: RunConfig, unseen: str = WAITING) -> None:
        super().__init__(console, config)
        self._state, self._unseen = LiveState(), unseen
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[rate]:,.0f} steps/s"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        total = config.planned_steps
        self._task = self._bar.add_task("starting", total=total, rate=0.0)

    def began(self, run_id: str, head: Generation) -> None:
        """Print where the run starts, and start the progress bar there."""
        super().began(run_id, head)
        self._state.finished_steps = head.train_steps
        self._bar.reset(self._task, completed=head.train_steps, description="training")

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Show a new generation."""
        self._state.generation = offspring[0].generation
        self._state.rows = {child.uid: Row(child, phase=self._unseen) for child in offspring}

    def progressed(self, uid: str, steps: int) -> None:
        """Update a member and the progress bar; called from another thread."""
        super().progressed(uid, steps)
        row = self._state.rows.get(uid)
        if row is not None and row.phase in (self._unseen, "training"):
            row.phase, row.steps = "training", steps
            self._advance()

    def trained(self, record: Training) -> None:
        """Mark a member as waiting for its evaluation."""
        super().trained(record)
        row = self._state.rows[record.uid]
        row.phase, row.steps = "evaluating", record.steps
        self._advance()

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Show a member's fitness, or print above the table why it failed."""
        super().evaluated(member, detail)
        row = self._state.rows[member.uid]
        row.result, row.steps = member, member.training.steps
        row.phase = f"failed: {member.failure.reason}" if member.failure else "done"

    def committed(self, head: Generation) -> None:
        """Print the generation's line above the table."""
        self._state.finished_steps = head.train_steps
        self._state.rows = {}
        self._advance()
        super().committed(head)

    def __rich__(self) -> RenderableType:
        """Render the table and the bar."""
        return self._group() if self._state.rows else self._bar

    def _group(self) -> Group:
        return Group(generation_table(self._state, self._config, self._console.width), self._bar)

    def _advance(self) -> None:
        done = self._state.finished_steps + sum(row.steps for row in list(self._state.rows.values()))
        rate = (done - self._start_steps) / max(time.monotonic() - self._clock, 1e-9)
        self._bar.update(self._task, completed=done, rate=rate, description=f"generation {self._state.generation}")


@contextmanager
def display(console: Console, config: RunConfig, unseen: str = WAITING) -> Iterator[Observer]:
    """Show a run on a console while the body runs it; see LiveObserver."""
    if not console.is_terminal:
        yield LineObserver(console, config)
        return
    observer = LiveObserver(console, config, unseen)
    with Live(observer, console=console, refresh_per_second=4, transient=True):
        yield observer


def generation_table(state: LiveState, config: RunConfig, width: int) -> Table:
    """Tabulate a running generation: members, parents, mutations, fitness, progress; genes if there is room."""
    genes = sorted(config.search)[: max(0, min(3, (width - 88) // 12))]
    table = Table(title=f"generation {state.generation}", expand=True, title_justify="left")
    for column in ("member", "parent", "mutation", "fitness", *genes, "steps", "phase"):
        table.add_column(column, justify="right" if column in ("fitness", "steps", *genes) else "left", no_wrap=True)
    rows = sorted(state.rows.values(), key=lambda row: _rank(row, config.evaluation.objective.sign))[:SHOWN_MEMBERS]
    for row in rows:
        written = written_genes(row.offspring.genome)
        table.add_row(
            row.offspring.uid.split("/")[1],  # the title names the generation
            (row.offspring.parent or "–").split("/")[-1],
            describe_origin(row.offspring),
            describe_fitness(row.result),
            *(written[gene] for gene in genes),
            f"{row.steps:,}",
            row.phase,
        )
    return table


def describe_beginning(run_id: str, head: Generation, config: RunConfig) -> str:
    """Describe the start of a run and its budget in one line."""
    origin = f"continues after generation {head.generation}" if head.generation else "starts"
    left_over, most = describe_left_over(config), describe_generations(config.max_generations)
    objective = config.evaluation.objective
    if config.population.sizing == "adaptive":
        steps = f"{config.training.evo_steps:,} steps for each line; {config.training.max_steps:,} steps in all"
    else:
        steps = f"{config.generation_steps:,} steps, {config.line_steps:,} for each line"
    return (
        f"run {run_id} {origin}: population {describe_population(config)}, at most {most} of {steps}"
        f"{f'; {left_over}' if left_over else ''}"
        f"{'' if objective.is_mean_return else f'; fitness: {objective.oriented_title}'}"
        f"{''.join(f'; objective: {one.oriented_title}' for one in config.evaluation.objectives)}"
    )


def describe_generation(head: Generation, config: RunConfig, rate: float | None = None) -> str:
    """Summarize a generation in one line."""
    assert head.elite is not None
    finished = [member.fitness for member in head.members if member.fitness is not None]
    failed = len(head.members) - len(finished)
    parts = [
        f"generation {head.generation:>3}/{config.max_generations}",
        f"{'elite' if head.front else 'best'} {describe_score(head.elite.fitness, head.elite.fitness_sem)} "
        f"({head.elite.uid})",
        f"mean {sum(finished) / len(finished):.1f}",
        f"{head.train_steps:,} steps",
        *([f"{rate:,.0f} steps/s"] if rate is not None else []),
        *([f"{len(head.front)} on the front"] if head.front else []),
        *([f"{failed} failed"] if failed else []),
    ]
    return "  ".join(parts)


def describe_confirmation(record: Confirmation) -> str:
    """Report the score of a checkpoint on fresh seeds."""
    interval = describe_interval(record.ci95, record.mean)
    more = "".join(f", {describe_objective(one)}" for one in record.objectives)
    fitness = " ".join(filter(None, [record.measured, describe_number(record.mean)]))
    beside = describe_mean_return(record.mean_return)
    return f"confirmed {record.uid}: {fitness} (95 % CI {interval}, {record.episodes} fresh episodes){beside}{more}"


def describe_delivery(ending: Ending, config: RunConfig) -> str:
    """Describe the delivered agent and its score on fresh episodes in one line."""
    elite, confirmed, title = ending.elite, ending.confirmed, config.evaluation.objective.title
    more = "".join(f", {describe_objective(one)}" for one in (confirmed or elite).objectives)
    if confirmed is None:
        return f"{elite.uid}: {title} {describe_number(elite.fitness)}{more} in selection, not confirmed"
    beside = describe_mean_return(confirmed.mean_return) + more
    return (
        f"{elite.uid}: {title} {describe_number(confirmed.mean)} over {confirmed.episodes} fresh episodes "
        f"(95 % CI {describe_interval(confirmed.ci95, confirmed.mean)}){beside}"
    )


def _rank(row: Row, sign: int) -> tuple[float, int]:
    fitness = row.result.fitness if row.result else None
    return (-sign * fitness if fitness is not None else float("inf"), row.offspring.index)
