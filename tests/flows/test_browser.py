"""Report and dashboard in a browser, at the widths of a desktop and a phone."""

import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.study import rebuild_study
from tests.flows.conftest import Cli, end_within
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage
from tests.services import chromium, free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A run that is reported, with its figures in its study."""
    directory = tmp_path_factory.mktemp("reported")
    config = make_lineage_config(8, 10)
    store_lineage((directory / "runs").as_uri(), "run", config, make_commits(config, learns_by_lr_and_gamma))
    rebuild_study(RunStore(open_store((directory / "runs").as_uri()), "run"), config, study(directory))
    Cli(directory, {"PREFECT_API_URL": "http://127.0.0.1:9/api"})("report", "run", "--dashboard")
    return directory


def study(directory):
    return f"sqlite:///{directory}/runs/study.db"


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])) as browser,
    ):
        yield browser


@pytest.fixture
def page(browser, request):
    """Open a page that records its errors and requests."""
    width, height = request.param
    with closing(browser.new_page(viewport={"width": width, "height": height})) as page:
        page.wrong, page.asked = [], []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("request", lambda asked: page.asked.append(asked.url))
        yield page


@pytest.fixture(scope="module")
def dashboard(reported):
    port = free_port()
    command = Path(sys.executable).parent / "optuna-dashboard"
    with (reported / "dashboard.log").open("w") as log:
        process = subprocess.Popen(
            [command, study(reported), "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/api/studies"))
        yield url
    finally:
        process.terminate()
        end_within(process, 10)


def answers(url):
    try:
        return urllib.request.urlopen(url).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("page", [(1200, 900), (390, 844)], ids=["desk", "phone"], indirect=True)
def test_the_report_fits_every_screen_and_makes_no_requests(page, reported):
    page.goto((reported / "reports" / "run" / "report.html").as_uri())
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 8 * 2")
    assert page.wrong == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    for plot in page.locator(".js-plotly-plot").all():
        box = plot.bounding_box()
        assert box["width"] > 300 and box["height"] > 100


@pytest.mark.parametrize("page", [(1200, 900), (390, 844)], ids=["desk", "phone"], indirect=True)
def test_the_dashboard_shows_its_figures_and_ours(page, dashboard):
    page.goto(f"{dashboard}/dashboard/studies/1")
    for title in ("Family tree", "Schedules that evolution found", "What each kind of mutation was worth"):
        page.get_by_text(title, exact=True).first.wait_for(timeout=60_000)
    for title in ("Hyperparameter Importance", "Timeline", "Intermediate values", "Best Trial"):
        page.get_by_text(title).first.wait_for(timeout=60_000)
    assert page.wrong == []
