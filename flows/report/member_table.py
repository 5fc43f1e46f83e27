"""The members of a run as rows of plain values, and such rows as a table, CSV, JSON or Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from evo_core.records.chain import Member
from flows.report.run_data import RunView
from tasks.views.trial_values import attributes, parameters

if TYPE_CHECKING:
    import pandas

Row = dict[str, object]
"""One member, or one update of a learning curve: values by the names of their columns."""

FIRST = ("uid", "generation", "member", "parent", "mutation", "mutation_what", "mutation_from", "mutation_to")
MIXED = ("mutation_from", "mutation_to")
"""Columns whose values are numbers or words; text in CSV and Parquet."""


def member_rows(view: RunView, uids: Iterable[str] | None = None) -> list[Row]:
    """Return a row for every member, or for those of these names in this order; LookupError for an unknown name.

    Steps are environment steps: `train_steps` in its generation, `lineage_steps` of its weights so far, `total_steps`
    of the whole population until the end of its generation. `train_s` and `evaluate_s` are seconds, `begun` is UTC;
    None where clocks are unknown.
    """
    winning = {member.uid for member in view.lineage.line(view.winner)}
    return [_row(view, uid, winning) for uid in (view.lineage.members if uids is None else uids)]


def _row(view: RunView, uid: str, winning: set[str]) -> Row:
    member = view.lineage[uid]
    about = attributes(member)
    del about["genome"]
    for name in ("archived", "mean_return"):  # columns of their own, of every row
        about.pop(name, None)
    train, evaluate = (view.timings.get((uid, phase)) for phase in ("train", "evaluate"))
    return {
        **{name: about.pop(name) for name in FIRST},
        **parameters(member.offspring.genome),
        "fitness": member.fitness,
        **about,
        "mean_return": member.evaluation.mean_return if member.evaluation else None,
        **_objectives(view, member),
        "total_steps": view.lineage.steps[member.offspring.generation],
        "begun": train.start.isoformat() if train else None,
        "train_s": (train.end - train.start).total_seconds() if train else None,
        "evaluate_s": (evaluate.end - evaluate.start).total_seconds() if evaluate else None,
        "host": train.host if train else None,
        "archived": member.offspring.archived,
        "alive": uid in view.lineage.alive,
        "in_winning_line": uid in winning,
    }


def _objectives(view: RunView, member: Member) -> Row:
    """Return the further objectives by their names; unknown for members that failed."""
    names = [objective.title for objective in view.config.evaluation.objectives]
    known = {one.name: one.value for one in member.evaluation.objectives} if member.evaluation else {}
    return {name: known.get(name) for name in names}


def curve_rows(view: RunView, uid: str | None = None) -> list[Row]:
    """Return the learning curve of a member's weights: the updates of all its ancestors, then its own.

    By default the delivered agent's. `lineage_steps` counts the steps that these weights were trained for; `fitness`
    is in the row of the last update of each generation. LookupError for an unknown name.
    """
    rows: list[Row] = []
    for member in view.lineage.line(uid or view.winner):
        steps = member.offspring.lineage_steps
        for number, update in enumerate(member.training.curve, start=1):
            steps += update.steps
            last = number == len(member.training.curve)
            about = {"lineage_steps": steps, "generation": member.offspring.generation, "uid": member.uid}
            rows.append({**about, **update.model_dump(), "fitness": member.fitness if last else None})
    return rows


def as_frame(rows: Sequence[Row]) -> "pandas.DataFrame | list[Row]":
    """Return rows as a pandas DataFrame if pandas is installed, else as they are."""
    if find_spec("pandas") is None:
        return list(rows)
    import pandas

    return pandas.DataFrame.from_records(list(rows))


def as_csv(rows: Sequence[Row]) -> bytes:
    """Write rows as CSV with a header; None is written as an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_json_array(rows: Sequence[Row]) -> bytes:
    """Write rows as a JSON array, one object per line."""
    return ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n").encode()


def as_parquet(rows: Sequence[Row]) -> bytes:
    """Write rows as a Parquet file; needs pyarrow."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{**row, **_texts(row)} for row in rows])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _texts(row: Mapping[str, object]) -> dict[str, str | None]:
    return {name: None if row[name] is None else str(row[name]) for name in MIXED if name in row}
