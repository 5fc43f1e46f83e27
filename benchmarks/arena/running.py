"""Run arms: one process per run, one thread each; what a file already holds is left out."""

import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from benchmarks.arena.arms import ARMS, overrides
from benchmarks.arena.race import FINAL, BudgetSpent, Race
from benchmarks.arena.records import Key, Record, append, read
from benchmarks.arena.tasks import TASKS, configuration
from evo_core.records.failures import GenerationFailed

ROOT = Path(__file__).resolve().parents[2]


def run_all(
    keys: Iterable[Key],
    path: Path,
    *,
    stop: bool = False,
    budget: int | None = None,
    processes: int = 1,
    on_record: Callable[[Record], None] = lambda record: None,
) -> int:
    """Run what is missing from a file of records and append it; return the number of new records.

    `budget` replaces that of every task; `stop` ends each run once a test reaches the target.
    """
    known = {record.key for record in read([path])}
    missing = [key for key in keys if key not in known]
    commit, machine = describe_commit(), describe_machine()

    def keep(record: Record) -> None:
        append(path, record)
        on_record(record)

    if processes == 1:
        for key in missing:
            keep(run(key, stop=stop, budget=budget, commit=commit, machine=machine))
        return len(missing)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [pool.submit(run, key, stop=stop, budget=budget, commit=commit, machine=machine) for key in missing]
        for future in as_completed(futures):
            keep(future.result())
    return len(missing)


def run(key: Key, *, stop: bool = False, budget: int | None = None, commit: str = "", machine: str = "") -> Record:
    """Run one arm on one task from one start with one seed.

    An evolution of which too few members survive a generation has ended there, as it does for a user.
    """
    task_name, start, arm, seed = key
    task, began = TASKS[task_name], time.process_time()
    changed = overrides(arm)
    race = Race(configuration(task, start, seed, changed), budget or task.budget, task.target if stop else None)
    with suppress(BudgetSpent, GenerationFailed):
        ARMS[arm](race, task)
    cpu_s = time.process_time() - began - race.test_s
    return Record(
        task=task_name,
        start=start,
        arm=arm,
        seed=seed,
        budget=race.budget,
        target=task.target,
        train_steps=race.train_steps,
        eval_steps=race.eval_steps,
        points=tuple(race.points),
        final=tuple(race.test(FINAL)),
        stopped=stop and any(point.test >= task.target for point in race.points),
        overrides=changed,
        cpu_s=round(cpu_s, 1),
        commit=commit,
        machine=machine,
    )


def describe_commit() -> str:
    """Return the commit that is checked out, with a plus sign when files of the core or the arena were changed."""
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    changes = subprocess.run(
        ["git", "status", "--porcelain", "evo_core", "benchmarks/arena"], cwd=ROOT, capture_output=True, text=True
    )
    return said.stdout.strip() + ("+" if changes.stdout.strip() else "")


def describe_machine() -> str:
    """Return the processor's name."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpu_lines() -> list[str]:
    cpus = Path("/proc/cpuinfo")
    return cpus.read_text().splitlines() if cpus.exists() else []
