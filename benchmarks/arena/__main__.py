"""The command line: python -m benchmarks.arena run|table|plot."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from benchmarks.arena.records import Record

app = App(name="python -m benchmarks.arena", help="Compare search methods at an equal total number of steps.")
RECORDS = (Path(__file__).parent / "results" / "tuning.jsonl",)
Many = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]


@app.command
def run(
    *,
    tasks: Many = ("pendulum",),
    starts: Many = ("wide",),
    arms: Many = (),
    seeds: str = "0-5",
    out: Path = RECORDS[0],
    budget: int | None = None,
    stop_at_target: bool = False,
    processes: int = 1,
) -> None:
    """Run what is missing from a file of records, seed by seed.

    Parameters
    ----------
    tasks
        Names of tasks.
    starts
        wide, bad or good.
    arms
        Names of arms; all of them unless given.
    seeds
        First and last seed, such as 0-19 (tuning) or 100-119 (test).
    out
        File of records.
    budget
        Total steps of every run, instead of the task's.
    stop_at_target
        End a run once an incumbent's test reaches the target.
    processes
        Runs at a time, each in a process of its own with one thread.
    """
    from benchmarks.arena.arms import ARMS
    from benchmarks.arena.running import run_all

    first, _, last = seeds.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    order = product(numbers, tasks, starts, arms or tuple(ARMS))
    keys = [(task, start, arm, seed) for seed, task, start, arm in order]
    run_all(keys, out, stop=stop_at_target, budget=budget, processes=processes, on_record=_show)


@app.command
def table(*records: Path, arms: Many = (), ours: str | None = None, against: Many = ()) -> None:
    """Print what files of records say, as Markdown.

    Parameters
    ----------
    records
        Files of records.
    arms
        Show these arms only.
    ours
        Compare this arm, seed by seed, with those that follow.
    against
        Arms to compare with.
    """
    from benchmarks.arena.records import read
    from benchmarks.arena.tables import comparison
    from benchmarks.arena.tables import table as lines

    found = read(records or RECORDS)
    print("\n".join(lines([record for record in found if not arms or record.arm in arms])))
    for other in against if ours else ():
        print("\n".join(comparison(found, str(ours), other)))


@app.command
def plot(*records: Path, out: Path, arms: Many = ()) -> None:
    """Draw the share of runs that have reached the target, over total steps: a PNG, SVG or HTML per task and start.

    Parameters
    ----------
    records
        Files of records.
    out
        File of the picture; task and start are added to its name.
    arms
        Show these arms only.
    """
    from benchmarks.arena.figures import arrivals
    from benchmarks.arena.records import read
    from benchmarks.arena.tables import grouped

    shown = [record for record in read(records or RECORDS) if not arms or record.arm in arms]
    for (task, start), group in grouped(shown, "task", "start"):
        figure, path = arrivals(group), out.with_stem(f"{out.stem}-{task}-{start}")
        if path.suffix == ".html":
            figure.write_html(path, include_plotlyjs="directory")
        else:
            figure.write_image(path, width=900, height=500)
        print(path)


def _show(record: "Record") -> None:
    best = max((point.test for point in record.points), default=float("nan"))
    reached = next((point.steps for point in record.points if point.test >= record.target), None)
    print(f"{' '.join(map(str, record.key))}: best {best:.0f}, reached {reached}, {record.cpu_s} s", flush=True)


if __name__ == "__main__":
    app()
