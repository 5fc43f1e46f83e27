"""Records of runs: a line of JSON each, appended once a run has ended. What is in the file is not run again."""

import fcntl
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.arena.race import Point

Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One run: task, start, arm and seed name it. `final` holds the returns of the last incumbent, [FINAL].

    Of a run that `stopped` at its target nothing is known beyond: its final test is that of the incumbent that reached
    it, and its curve ends there. `overrides` are what a configuration of ours changed; CPU seconds do not include
    tests.
    """

    task: str
    start: str
    arm: str
    seed: int
    budget: int
    target: float
    train_steps: int
    eval_steps: int
    points: tuple[Point, ...]
    final: tuple[float, ...]
    stopped: bool
    overrides: dict[str, Any]
    cpu_s: float
    commit: str
    machine: str

    @property
    def key(self) -> Key:
        """What makes a run one of its kind."""
        return self.task, self.start, self.arm, self.seed


def read(paths: Iterable[Path]) -> list[Record]:
    """Read the records of all files that exist; a last line that was cut off is not a record."""
    records: dict[Key, Record] = {}
    for path in paths:
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                fields = json.loads(line)
            except json.JSONDecodeError:
                continue
            fields["points"] = tuple(Point(*point) for point in fields["points"])
            record = Record(**{**fields, "final": tuple(fields["final"])})
            records[record.key] = record
    return list(records.values())


def append(path: Path, record: Record) -> None:
    """Append a record in one write, under a lock, so that any number of processes may share the file."""
    fields = asdict(record)
    fields["points"] = [
        [point.steps, point.uid, round(point.fitness, 3), round(point.test, 3)] for point in record.points
    ]
    fields["final"] = [round(value, 1) for value in record.final]
    line = json.dumps(fields, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.tell() and not _ends_a_line(file):
            line = "\n" + line
        file.write(line.encode())


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, 2)
    return bool(file.read(1) == b"\n")
