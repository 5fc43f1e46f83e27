"""evolve report: one HTML page and pictures of a run, finished or not."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import optuna
import plotly.graph_objects as go

from flows.commands.ending import without_password
from flows.commands.run import read_settings
from flows.extras import require_extra
from flows.output import emit
from flows.report.page import make_figures, render_page
from flows.report.style import Figure
from flows.report.view import view_run
from flows.runs import open_ref
from flows.settings import BadInput, Settings
from tasks.study import open_storage

WIDTH, SCALE = 1000, 2
"""Width of pictures in points, and pixels per point."""


def write_report(
    run_id: str, store: str | None, study: str | None, output: Path | None, *, dashboard: bool, json: bool
) -> int:
    """Write report.html and a picture of every figure; with `dashboard`, put the figures into the study too."""
    if dashboard:
        require_extra("dashboard", "optuna_dashboard")
    settings = read_settings({"store": store, "study": study})
    settings.export()
    ref = open_ref(run_id)
    directory = output or Path("reports") / run_id
    view = view_run(ref)
    figures = make_figures(view)
    _make(directory)
    page = directory / "report.html"
    page.write_text(render_page(view, figures), encoding="utf-8")
    pictures, missing = write_pictures(figures, directory)
    if missing:
        print(f"no pictures: {missing}", file=sys.stderr)
    if dashboard:
        show_in_dashboard(settings, run_id, figures)
    if json:
        emit({"run_id": run_id, "report": str(page), "pictures": [str(p) for p in pictures], "dashboard": dashboard})
        return 0
    print(f"{page}" + (f" and {len(pictures)} pictures" if pictures else ""))
    if dashboard:
        print(f"the figures are in the study: optuna-dashboard {without_password(settings.study_url)}")
    return 0


def write_pictures(figures: Sequence[Figure], directory: Path) -> tuple[list[Path], str | None]:
    """Draw every figure as PNG by means of a browser; return the files, or why there are none."""
    if find_spec("kaleido") is None:
        return [], "kaleido is not installed: pip install 'evolve-rl[png]'"
    import plotly.io
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    files = [directory / f"{figure.name}.png" for figure in figures]
    try:
        plotly.io.write_images([f.plot for f in figures], files, width=WIDTH, scale=SCALE)
    except (ChromeNotFoundError, BrowserFailedError, RuntimeError) as error:
        found = str(error).strip().partition("\n")[0]
        return [], f"they are drawn by Chrome or Chromium, install one (or set BROWSER_PATH to it): {found}"
    return files, None


def show_in_dashboard(settings: Settings, run_id: str, figures: Sequence[Figure]) -> None:
    """Put figures into a run's study, where optuna-dashboard shows them."""
    from optuna_dashboard import save_plotly_graph_object

    try:
        study = optuna.load_study(study_name=run_id, storage=open_storage(settings.study_url))
    except KeyError:
        url = without_password(settings.study_url)
        raise BadInput(
            f"--dashboard: {url} has no study {run_id}; make it: evolve lineage rebuild {run_id}, or name the "
            "database by --study"
        ) from None
    for figure in figures:
        titled = go.Figure(figure.plot).update_layout(title=figure.title, height=None, margin_t=110)
        save_plotly_graph_object(study, titled, graph_object_id=figure.name)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output {directory}: {error.strerror}; name a directory that can be written") from None
