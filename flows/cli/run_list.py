"""evolve status without a run: list the runs of the store."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass

from rich.table import Table

from flows.cli.output import emit, make_console
from flows.outcome import describe_status, stored_ending
from flows.runs import open_run, open_run_store, run_ids
from flows.settings import Settings
from tasks.runs import layout
from tasks.runs.presence import is_being_worked_on
from tasks.runs.record_store import CONNECTIONS
from tasks.store import CorruptError, MissingError, StoreError
from tasks.views.phrases import describe_number


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the list of runs. Unknown values are None; `age_s`: seconds since it started."""

    run_id: str
    state: str
    env: str | None = None
    generations: int = 0
    max_generations: int | None = None
    best: float | None = None
    train_steps: int = 0
    age_s: float | None = None


def list_runs(settings: Settings, *, json: bool) -> int:
    """Print the runs of a store, the newest first."""
    names = run_ids(settings)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = pool.map(lambda run_id: _line(settings, run_id), names)
    lines = sorted(found, key=lambda line: (line.age_s is None, line.age_s, line.run_id))
    if json:
        emit({"store": settings.store_url, "runs": names, "details": [asdict(line) for line in lines]})
    elif lines:
        make_console().print(runs_table(lines), highlight=False)
    else:
        print(f"no runs in {settings.store_url}")
    return 0


def runs_table(lines: list[Line]) -> Table:
    """Tabulate runs, in 80 columns where names are of usual length."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("run", "environment", "gen", "best", "steps", "state", "age"):
        right = name in ("gen", "best", "steps", "age")
        table.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for line in lines:
        table.add_row(
            line.run_id,
            line.env or "–",
            f"{line.generations}/{line.max_generations or '?'}",
            "–" if line.best is None else describe_number(line.best),
            describe_count(line.train_steps),
            line.state,
            "–" if line.age_s is None else describe_age(line.age_s),
        )
    return table


def describe_count(count: int) -> str:
    """Write a number of steps in at most five characters, such as 1.23M."""
    for limit, divisor, unit in ((10_000, 1, ""), (999_500, 10**3, "k"), (999_500_000, 10**6, "M")):
        if count < limit:
            return f"{count / divisor:.3g}{unit}" if unit else str(count)
    return f"{count / 10**9:.3g}G"


def describe_age(seconds: float) -> str:
    """Write an age in its largest unit, such as 3 h."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _line(settings: Settings, run_id: str) -> Line:
    """Summarize one run in a line; a damaged run gets one as well."""
    run, age_s = open_run_store(settings, run_id), None
    with suppress(StoreError):  # a read-only store has no clock
        age_s = run.store.age_s(run.key(layout.RUN))
    try:
        config = run.config()
        ref = open_run(settings, config, run_id)
        head = run.head()
        ending = stored_ending(ref, head)
        best = head.fittest(config.evaluation.objective.sign) if head else None
        state = "running" if ending is None and is_being_worked_on(run) else describe_status(ending)
    except MissingError:
        return Line(run_id, "half deleted", age_s=age_s)
    except CorruptError:
        return Line(run_id, "damaged", age_s=age_s)
    return Line(
        run_id,
        state,
        config.env.id,
        head.generation if head else 0,
        config.max_generations,
        best.fitness if best else None,
        head.train_steps if head else 0,
        age_s,
    )
