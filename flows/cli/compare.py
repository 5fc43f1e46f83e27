"""evolve compare: runs side by side, as tables and figures. Imports nothing heavy until the runs are read."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from flows.cli.arguments import Json, Store
from flows.cli.output import emit, make_console
from flows.cli.session import read_settings
from flows.report.run_data import view_run_once
from flows.runs import open_ref
from flows.settings import BadInput

if TYPE_CHECKING:
    from flows.report.comparison import Group

MOST_RUNS = 200


def compare(
    *run_ids: Annotated[str, Parameter(name="RUN")],
    output: Annotated[
        Path | None, Parameter(help="Directory for a page and pictures of the figures [none are drawn].")
    ] = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Compare runs of one environment: best fitness so far over training steps, with intervals over seeds."""
    if not 2 <= len(run_ids) <= MOST_RUNS:
        raise BadInput(f"expected 2 to {MOST_RUNS} runs, got {len(run_ids)}; `evolve status` lists them")
    read_settings({"store": store}).export()
    refs = [open_ref(run_id) for run_id in run_ids]
    from flows.report.comparison import compare_runs, differing_fields, group_table, run_table

    groups = compare_runs([view_run_once(ref) for ref in refs])
    written = _write(groups, output) if output is not None else []
    if json:
        bests = [
            {
                "run_id": side.view.run_id,
                "configuration": group.name,
                "seed": side.view.config.seed,
                "status": side.view.status,
                "steps": side.steps.tolist(),
                "best": side.best.tolist(),
                "confirmed": side.view.confirmed.model_dump(mode="json") if side.view.confirmed else None,
            }
            for group in groups
            for side in group.sides
        ]
        means = [
            {"configuration": group.name, "steps": steps.tolist(), "mean": mean.tolist(), "ci95": intervals}
            for group in groups
            for steps, mean, intervals in [group.band()]
        ]
        emit({"runs": bests, "configurations": means, "files": [str(path) for path in written]})
        return 0
    tables = [run_table(groups), group_table(groups)]
    if len(groups) > 1:
        tables.append(differing_fields(groups))
    console = make_console()
    for columns, rows in tables:
        table = Table(*columns)
        for row in rows:
            table.add_row(*row)
        console.print(table, highlight=False)
    for path in written:
        print(path)
    return 0


def _write(groups: "list[Group]", directory: Path) -> list[Path]:
    from flows.cli.report import make_directory, write_pictures
    from flows.report.comparison_page import comparison_figures, comparison_page

    figures = comparison_figures(groups)
    make_directory(directory)
    page = directory / "comparison.html"
    page.write_text(comparison_page(groups, figures), encoding="utf-8")
    pictures, missing = write_pictures(figures, directory)
    if missing:
        print(f"no pictures: {missing}", file=sys.stderr)
    return [page, *pictures]
