"""evolve members: every member of a run, for a table, a spreadsheet or a notebook. Imports nothing heavy."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from flows.cli.arguments import Json, Run, Store
from flows.cli.extras import require_extra
from flows.cli.output import emit, make_console, require_directory
from flows.cli.session import read_settings
from flows.next_steps import evolve_command, store_flag
from flows.report.member_table import Row, as_csv, as_json_array, as_parquet, member_rows
from flows.report.run_data import RunView, view_run_once
from flows.runs import open_ref
from flows.settings import BadInput
from tasks.views.phrases import describe_fitness, describe_number, describe_origin, written_genes

Format = Literal["table", "csv", "json", "parquet"]


def members(
    run_id: Run,
    /,
    *,
    format: Annotated[Format, Parameter(help="table for reading; all columns in the others.")] = "table",
    output: Annotated[Path | None, Parameter(help="File to write [standard output].")] = None,
    line: Annotated[
        str | None, Parameter(help="Only a member's line of descent, such as g0003/m05; winner: the delivered agent's.")
    ] = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """List every member of a run: parent, mutation, genes, sizes, fitness, steps, times, checkpoint."""
    if format == "parquet":
        require_extra("pandas", "pyarrow")
    if output is not None and (json or format == "table"):
        raise BadInput(f"--output {output}: needs --format csv, json or parquet; --json prints on standard output")
    require_directory("--output", output)
    read_settings({"store": store}).export()
    view = view_run_once(open_ref(run_id))
    rows = member_rows(view, None if line is None else _line(view, line))
    if json:
        emit({"run_id": run_id, "winner": view.winner, "members": rows})
        return 0
    if format == "table":
        make_console().print(_table(view, rows))
        return 0
    content = {"csv": as_csv, "json": as_json_array, "parquet": as_parquet}[format](rows)
    if output is not None:
        output.write_bytes(content)
        print(output, file=sys.stderr)
    elif format == "parquet" and sys.stdout.isatty():
        command = evolve_command("members", run_id, format=format, output=f"{run_id}.parquet", **store_flag())
        raise BadInput(f"--format parquet: not for a terminal; write it to a file: {command}")
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    return 0


def _line(view: RunView, uid: str) -> list[str]:
    try:
        return [member.uid for member in view.lineage.line(view.winner if uid == "winner" else uid)]
    except LookupError as error:
        raise BadInput(f"--line {uid}: {error.args[0]}") from None


def _table(view: RunView, rows: Sequence[Row]) -> Table:
    """Tabulate the columns that fit on a screen; the winning line is marked."""
    genes = sorted(view.config.search)
    table = Table(title=f"{view.run_id}: {len(rows)} members, winner {view.winner}", title_justify="left")
    further = _further(view)
    names = ("fitness", *further.values(), "steps of the population", "seconds")
    for column in ("member", "parent", "mutation", *genes, *names):
        left = column in ("member", "parent", "mutation")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        member = view.lineage[str(row["uid"])]
        written, seconds = written_genes(member.offspring.genome), row["train_s"]
        table.add_row(
            member.uid,
            member.offspring.parent or "–",
            describe_origin(member.offspring),
            *(written[gene] for gene in genes),
            describe_fitness(member) or "failed",
            *(describe_number(value) if isinstance(value := row[name], float | int) else "–" for name in further),
            f"{row['total_steps']:,}",
            f"{seconds:.1f}" if isinstance(seconds, float) else "–",
            style="green" if row["in_winning_line"] else None,
        )
    return table


def _further(view: RunView) -> dict[str, str]:
    """Return the scores besides fitness, as titles by their names in rows: the mean return, and objectives."""
    evaluation = view.config.evaluation
    returns = {} if evaluation.objective.is_mean_return else {"mean_return": "mean return"}
    return returns | {objective.title: objective.title for objective in evaluation.objectives}
