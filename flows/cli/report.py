"""evolve report: one HTML page and figures of a finished or running run. Imports nothing heavy until it draws."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.arguments import Json, Run, Store, Study, number
from flows.cli.extras import require_extra
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.report.run_data import RunView, view_run_once
from flows.runs import open_ref
from flows.settings import BadInput
from flows.views.publish import dashboard_command, open_study, show_figures

if TYPE_CHECKING:
    from flows.report.style import Figure

WIDTH, SCALE = 1000, 2
"""Width of pictures in points, and pixels per point."""

TITLE, PANEL = 40, 450
"""Height of a picture's title, and of the dashboard's panels, in points."""


def report(
    run_id: Run,
    /,
    *,
    output: Annotated[Path | None, Parameter(help="Directory for the page and the pictures [reports/RUN].")] = None,
    dashboard: Annotated[bool, Parameter(negative="", help="Put the figures into the Optuna study too.")] = False,
    follow: Annotated[bool, Parameter(negative="", help="Serve the page on this machine, and refresh it.")] = False,
    port: Annotated[int | None, number("With --follow: port to listen on [a free one].", 1, 65_535)] = None,
    store: Store = None,
    study: Study = None,
    json: Json = False,
) -> int:
    """Write an HTML report of a run, which may still be running."""
    if follow:
        flags = {"--output": output, "--dashboard": dashboard or None, "--study": study, "--json": json or None}
        return _follow(run_id, port, store, flags)
    if port is not None:
        raise BadInput("--port: is that of --follow; give both, or neither")
    if dashboard:
        require_extra("dashboard", "optuna_dashboard")
    settings = read_settings({"store": store, "study": study})
    settings.export()
    ref = open_ref(run_id)
    study_shown = open_study(settings, run_id) if dashboard else None
    directory = output or Path("reports") / run_id
    view = view_run_once(ref)
    from flows.report.html_page import make_figures
    from flows.report.style import titled

    figures = make_figures(view)
    page = write_report(view, figures, directory)
    pictures, missing = write_pictures(figures, directory)
    if missing:
        print(f"no pictures: {missing}", file=sys.stderr)
    if study_shown is not None:
        show_figures(study_shown, {figure.name: titled(figure, PANEL) for figure in figures})
    if json:
        emit({"run_id": run_id, "report": str(page), "pictures": [str(p) for p in pictures], "dashboard": dashboard})
        return 0
    print(f"{page}" + (f" and {len(pictures)} pictures" if pictures else ""))
    if dashboard:
        print(f"the figures are in the study: {dashboard_command(settings)}")
    return 0


def _follow(run_id: str, port: int | None, store: str | None, others: Mapping[str, object]) -> int:
    """Serve the page of a run until Ctrl-C."""
    if given := [flag for flag, value in others.items() if value is not None]:
        raise BadInput(f"{given[0]}: --follow serves the page and writes nothing; give one of them")
    read_settings({"store": store}).export()
    open_ref(run_id)
    from flows.report.followed_page import LOOPBACK, FollowedReport, report_server

    try:
        server = report_server(FollowedReport(partial(open_ref, run_id)), port or 0)
    except OSError as error:
        raise BadInput(f"--port {port}: {error.strerror}; choose another one, or leave it out") from None
    print(f"http://{LOOPBACK}:{server.server_port}/ shows {run_id}; Ctrl-C ends it", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


def write_report(view: RunView, figures: "Sequence[Figure]", directory: Path) -> Path:
    """Write the page of a run into a directory, which is made; return its file."""
    from flows.report.html_page import render_page

    make_directory(directory)
    page = directory / "report.html"
    page.write_text(render_page(view, figures), encoding="utf-8")
    return page


def write_pictures(figures: "Sequence[Figure]", directory: Path) -> tuple[list[Path], str | None]:
    """Render every figure as PNG with a browser; return the files, or the reason why there are none."""
    if find_spec("kaleido") is None:
        return [], "kaleido is not installed: pip install 'evolve-rl[png]'"
    import plotly.io
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    from flows.report.style import titled

    files = [directory / f"{figure.name}.png" for figure in figures]
    try:
        heights = [figure.plot.layout.height + TITLE for figure in figures]
        plots = [titled(figure, height) for figure, height in zip(figures, heights, strict=True)]
        plotly.io.write_images(plots, files, width=WIDTH, height=heights, scale=SCALE)
    except (ChromeNotFoundError, BrowserFailedError, RuntimeError) as error:
        found = str(error).strip().partition("\n")[0]
        return [], f"they are drawn by Chrome or Chromium, install one (or set BROWSER_PATH to it): {found}"
    return files, None


def make_directory(directory: Path) -> None:
    """Create a directory for output; BadInput when that is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output {directory}: {error.strerror}; name a directory that can be written") from None
