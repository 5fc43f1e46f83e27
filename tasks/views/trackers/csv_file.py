"""CSV tracker: members.csv with one row per member and generation, and the configuration."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from itertools import groupby, takewhile
from pathlib import Path

from evo_core.config.evolution_sections import PopulationConfig
from evo_core.records.chain import Generation, Member
from tasks.views.trackers import tracker as base
from tasks.views.trackers.measures import lineage_row, member_columns
from tasks.yaml_text import dump_yaml


class Tracker(base.Tracker):
    """CSV tracker. Appends a generation's rows in one write; an incomplete one is removed at the next start."""

    def begin(self, run: base.TrackedRun) -> int:
        """Keep only the rows of complete generations; return the last one."""
        self._path = run.directory / "members.csv"
        plain = dump_yaml(run.config.model_dump(mode="json"))
        (run.directory / "config.yaml").write_text(plain, encoding="utf-8")
        kept, generations = _whole_generations(self._path, run.config.population)
        if self._path.exists():
            os.truncate(self._path, kept)
        return generations

    def log(self, commit: Generation) -> None:
        """Append the rows of a generation."""
        rows = [_row(member, commit) for member in commit.members]
        text = io.StringIO(newline="")
        columns = _columns(self._path)  # a file of an earlier version keeps its own
        writer = csv.DictWriter(text, columns or _all_columns(rows), lineterminator="\n", extrasaction="ignore")
        if not columns:
            writer.writeheader()
        writer.writerows(rows)
        with self._path.open("ab") as file:
            file.write(text.getvalue().encode())


def _all_columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the columns of all rows; members that failed lack those of further objectives."""
    longest = max(rows, key=len)
    return list(longest)


def _columns(path: Path) -> list[str]:
    """Return the columns that a file has; none if it has no header yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _row(member: Member, commit: Generation) -> dict[str, object]:
    return {
        **lineage_row(member),
        "total_train_steps": commit.train_steps,
        **member_columns(member),
    }


def _whole_generations(path: Path, population: PopulationConfig) -> tuple[int, int]:
    """Return the size in bytes of the part of a file that holds complete generations, and their number.

    Where sizes differ, the last generation may be incomplete.
    """
    if not path.exists():
        return 0, 0
    *lines, _ = path.read_bytes().split(b"\n")  # text after the last newline is an incomplete row
    rows = list(csv.reader(line.decode() for line in lines))
    kept = generations = 0
    if rows:
        column = rows[0].index("generation")
        sizes = [len(list(members)) for _, members in groupby(rows[1:], key=lambda row: row[column])]
        if population.sizing == "adaptive":
            sizes = sizes[:-1]
        whole = list(takewhile(lambda size: size >= population.least, sizes))
        kept, generations = 1 + sum(whole), len(whole)
    return sum(len(line) + 1 for line in lines[:kept]), generations
