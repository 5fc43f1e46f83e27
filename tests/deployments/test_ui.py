"""The Prefect UI of `evolve serve` in a browser: login, forms, runs, artifacts and Retry."""

import os
import re
import signal
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from deployments.form import DEFAULT
from tests.deployments.working import FORM, chain, run_store, serving, undisturbed_form
from tests.flows.conftest import command_of, descendants
from tests.services import chromium, free_port, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # a start of everything and a whole run, on a busy machine
    pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright"),
]

AUTH = "lab:correct-horse-battery"
STUDY_PAGE = "http://127.0.0.1:8080/dashboard/studies/{study}"
LABELS = {
    "population_size": "Members of the population",
    "max_steps": "Budget in steps",
    "evo_steps": "Steps per member and generation",
    "num_envs": "Copies of the environment",
    "batch_size": "Minibatch size",
    "learn_step": "Steps per update",
}
PICTURES = Path(os.environ["EVOLVE_TEST_PICTURES"]) if "EVOLVE_TEST_PICTURES" in os.environ else None


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Run `evolve serve` with an auth string; return its URL, directory and process."""
    chromium()
    directory, port = tmp_path_factory.mktemp("service"), free_port()
    environment = {"PREFECT_SERVER_API_AUTH_STRING": AUTH, "EVOLVE_STUDY_PAGE": STUDY_PAGE}
    with serving(directory, port, environment) as process:
        assert f"Prefect UI   http://127.0.0.1:{port}\n" in (directory / "serve.log").read_text()
        yield f"http://127.0.0.1:{port}", directory, process


@pytest.fixture(scope="module")
def oracle():
    """Return the chain of the same run, computed in this process."""
    return undisturbed_form(FORM)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])) as browser,
    ):
        yield browser


@pytest.fixture
def page(browser, service):
    """Open a page and log in."""
    with closing(browser.new_page(viewport={"width": 1280, "height": 900})) as page:
        page.set_default_timeout(60_000)
        page.wrong = []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(service[0])
        page.locator("input").fill(AUTH)
        page.get_by_role("button", name="Login").click()
        open_deployment(page, "evolve")
        yield page


def open_deployment(page, name):
    """Open the page of a deployment."""
    page.get_by_role("link", name="Deployments").first.click()
    deployment = page.locator('a[href*="/deployments/deployment/"]')  # the flow and the work pool have its name too
    deployment.filter(has_text=re.compile(f"^{name}$")).first.click()


def picture(page, name):
    """Save a screenshot for the README if EVOLVE_TEST_PICTURES is set."""
    if PICTURES is not None:
        page.wait_for_timeout(8000)  # until what moves stands still
        page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def open_form(page):
    """Open the form of the deployment whose page is open."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()


def fill(page, **values):
    """Open the form and fill it in."""
    open_form(page)
    for name, value in {**FORM, **values}.items():
        page.get_by_label({**LABELS, "lr": "Learning rate", "run_id": "Name of the run"}[name]).fill(str(value))


def press(page, button, question):
    """Press a button, again while the server's database is locked; return the response to its request."""
    answers = []

    def answered():
        with page.expect_response(lambda answer: answer.url.endswith(question)) as answer:
            button.click()
        answers.append(answer.value)
        assert answer.value.ok or answer.value.status == 503, answer.value.text()
        return answer.value.ok

    wait_for(answered, interval_s=0.5)
    return answers[-1].json()


def submit(page):
    """Submit the form and go to the run's page."""
    created = press(page, page.get_by_role("button", name="Submit"), "/create_flow_run")
    page.goto(f"{page.url.partition('/deployments/')[0]}/runs/flow-run/{created['id']}")
    page.get_by_role("tab", name="Logs").wait_for()


@contextmanager
def looking_away(page):
    """Leave a run's page during the body, because drawing its graph takes most of a core."""
    url = page.url
    page.goto("about:blank")
    yield url
    page.goto(url)


def state(page, name, timeout_s=450):
    """Wait until a run is in a state and its page shows it."""
    with looking_away(page) as url, httpx.Client(auth=tuple(AUTH.split(":", 1)), timeout=120) as api:
        shown = urlsplit(url)
        asked = f"{shown.scheme}://{shown.netloc}/api/flow_runs/{shown.path.rpartition('/')[2]}"

        def reached():
            with suppress(httpx.TransportError):  # the server's SQLite is busy, as when it answers 503
                answer = api.get(asked)
                return answer.status_code == 200 and answer.json()["state"]["name"] == name
            return False

        wait_for(reached, timeout_s, interval_s=1)
    badge(page, name).first.wait_for()


def badge(page, name):
    """Return the element that shows a run's state; `name` may be several (a|b)."""
    return page.locator("span", has_text=re.compile(f"^({name})$"))


def test_the_service_accepts_its_own_pages_and_requests_with_the_auth_string(service):
    url, _, _ = service
    with httpx.Client(base_url=f"{url}/api/") as anyone:
        assert anyone.get("health").status_code == 200
        assert anyone.get("version").status_code == 401
        assert anyone.post("flows/filter", json={}).status_code in (401, 403)  # CSRF is looked at first
    with httpx.Client(base_url=f"{url}/api/", auth=tuple(AUTH.split(":", 1))) as operator:
        assert operator.get("version").status_code == 200
        refused = operator.post("flows/filter", json={})
        assert (refused.status_code, "CSRF" in refused.text) == (403, True)
        own = operator.get("version", headers={"Origin": url})
        assert (own.status_code, own.headers["Access-Control-Allow-Origin"]) == (200, url)
        for headers in ({"Origin": "https://elsewhere.example"}, {"Host": "elsewhere.example"}):
            answer = operator.get("version", headers=headers)
            assert answer.status_code == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_wrong_value_is_refused_and_a_good_one_runs_to_its_end(page, service, oracle):
    _, directory, _ = service
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    fill(page, run_id="by-hand", lr=5)
    page.get_by_role("button", name="Submit").click()
    refused = page.get_by_label("Learning rate").evaluate("field => field.validationMessage")
    assert "less than or equal to 1" in refused
    assert not any(url.endswith("/create_flow_run") for url in asked)
    page.get_by_label("Learning rate").fill("0.001")
    picture(page, "form")
    submit(page)
    state(page, "Completed")
    page.get_by_text("cartpole-v1 · pop 3 · seed 1").first.wait_for()
    page.reload()  # a picture without messages that come and go
    page.get_by_text("generation 1 begins").first.wait_for()
    picture(page, "run")
    assert chain(directory / "runs", "by-hand") == oracle
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("leaderboard-by-hand").first.click()
    versions = page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$"))
    versions.first.wait_for()
    assert versions.count() == 3, "one version per generation"
    versions.first.click()
    page.get_by_role("columnheader", name="fitness").wait_for()
    page.get_by_role("cell", name="g0003/m00", exact=True).wait_for()
    picture(page, "leaderboard")
    page.goto(f"{page.url.partition('/artifacts/')[0]}/artifacts/key/summary-by-hand")
    versions.first.click()
    link = page.get_by_role("link", name="study.db")
    assert link.get_attribute("href") == STUDY_PAGE.format(study=1)
    assert page.wrong == []


def test_the_advanced_box_arrives(page, service):
    _, directory, _ = service
    fill(page, run_id="advanced", max_steps=12_288)
    page.get_by_text("Advanced", exact=True).last.click()
    page.get_by_label("Gamma").fill("0.9")
    submit(page)
    state(page, "Completed")
    config = run_store(directory / "runs", "advanced").config()
    assert config.algorithm.gamma == 0.9
    assert config.algorithm.gae_lambda == DEFAULT.algorithm.gae_lambda


def test_a_file_is_pasted_and_its_run_resumed_from_the_list(page, service):
    _, directory, _ = service
    config = {**DEFAULT.model_dump(mode="json"), "training": {"max_steps": 8192, "evo_steps": 4096}}
    config |= {"population": {"size": 2}, "env": {"id": "CartPole-v1", "num_envs": 4}}
    open_form(page)
    page.get_by_label("Name of the run").fill("pasted")
    page.get_by_label("Configuration as YAML").fill(yaml.safe_dump(config))
    submit(page)
    state(page, "Completed")
    open_deployment(page, "resume")
    open_form(page)
    page.get_by_text("Select", exact=True).click()
    page.get_by_role("option", name="pasted", exact=True).click()
    page.get_by_text("int", exact=True).first.click()
    page.locator("input[type=number]").first.fill("16384")  # it has no label of its own
    submit(page)
    state(page, "Completed")
    assert len(chain(directory / "runs", "pasted")) == 3


def test_rules_across_fields_are_checked_at_once_and_shown_on_the_page_of_the_run(page):
    fill(page, run_id="wrong", batch_size=4096)
    submit(page)
    state(page, "Failed")
    page.get_by_role("tab", name="Details").click()
    page.get_by_text("Minibatch size: expected at most the initial rollout of 512 steps").first.wait_for()


def test_a_run_that_is_killed_is_finished_by_the_retry_button(page, service, oracle):
    from playwright.sync_api import TimeoutError as Late

    _, directory, process = service
    fill(page, run_id="killed")
    submit(page)
    with looking_away(page):
        wait_for(lambda: list((directory / "runs/killed").glob("gen/000001/m/*.train.json")), timeout_s=180)
    (flow,) = (pid for pid in descendants(process.pid) if "prefect.engine" in command_of(pid))
    os.kill(flow, signal.SIGKILL)
    state(page, "Crashed")
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Retry").click()
    press(page, page.get_by_role("alertdialog").get_by_role("button", name="Retry"), "/set_state")

    def completed():
        page.wait_for_timeout(3000)
        page.reload()  # a page that has seen a run end may look no further
        with suppress(Late):  # its server was busy: the next look loads it again
            badge(page, "AwaitingRetry|Pending|Submitting|Running|Crashed|Completed").first.wait_for(timeout=20_000)
        return badge(page, "Completed").count() > 0

    wait_for(completed, timeout_s=400)
    assert chain(directory / "runs", "killed") == oracle
