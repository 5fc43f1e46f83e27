"""Which Prefect API a run uses: that of Prefect's settings in any place, with errors that name the place."""

import http.server
import threading
from pathlib import Path

import pytest
from prefect.context import refresh_global_settings_context
from prefect.settings import Settings

from flows.cli import app as cli
from flows.prefect_server.api import describe_api, find_api, require_api
from flows.settings import BadInput
from tests.conftest import make_config
from tests.flows.conftest import Cli
from tests.services import free_port

PROFILES = (
    'active = "far"\n[profiles.far]\nPREFECT_API_URL = "{url}"\n[profiles.other]\nPREFECT_API_URL = "http://o/api"\n'
)
PLACES = {
    "prefect.toml": ('[api]\nurl = "{url}"\n', "api.url in {here}/prefect.toml"),
    "pyproject.toml": ('[tool.prefect.api]\nurl = "{url}"\n', "tool.prefect.api.url in {here}/pyproject.toml"),
    ".env": ("PREFECT_API_URL={url}\n", "PREFECT_API_URL in {here}/.env"),
    "home/profiles.toml": (PROFILES, "PREFECT_API_URL of the active profile in {here}/home/profiles.toml"),
    "own-profiles.toml": (PROFILES, "PREFECT_API_URL of the active profile in own-profiles.toml"),
}
"""Files in order of what Prefect prefers among those that it reads without being told: see the test below."""


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A directory without settings, as Prefect's home too."""
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield tmp_path
    monkeypatch.undo()
    refresh_global_settings_context()


def write(place, url):
    Path(place).write_text(PLACES[place][0].format(url=url))


@pytest.mark.parametrize("place", PLACES)
def test_every_place_of_prefects_settings_is_read_and_named(bare, monkeypatch, place):
    assert find_api() is None
    write(place, "http://far/api")
    if place == "own-profiles.toml":
        monkeypatch.setenv("PREFECT_PROFILES_PATH", place)
    api = find_api()
    assert (api.url, api.source) == ("http://far/api", PLACES[place][1].format(here=bare))
    assert describe_api(api) == f"{api.url} ({api.source})"
    monkeypatch.setenv("PREFECT_API_URL", "http://nearer/api")
    assert find_api().source == "PREFECT_API_URL"
    monkeypatch.setenv("PREFECT_API_URL", "")  # as Prefect has it: there is none, whatever files say
    assert find_api() is None


def test_the_order_of_places_is_prefects(bare):
    for number, place in enumerate(list(PLACES)[:4]):
        write(place, f"http://place-{number}/api")
    for _ in range(4):
        api = find_api()
        assert api.url == Settings().api.url
        written = next(place for place in PLACES if api.source.endswith(place))
        assert api.url in Path(written).read_text()
        Path(written).unlink()
    assert find_api() is None


def test_settings_that_cannot_be_read_are_refused(bare):
    Path("prefect.toml").write_text("[api\n")
    with pytest.raises(BadInput, match=r"Prefect's settings cannot be read: .*prefect\.toml"):
        find_api()


def test_a_dry_run_names_the_server_that_a_run_would_use(bare, capsys):
    path = Cli(bare).config(make_config())
    assert cli._main(["run", "--config", path, "--dry-run"]) == 0
    assert "prefect: a server of its own for this run" in capsys.readouterr().out
    write("prefect.toml", "http://me:secret-word@far/api")
    assert cli._main(["run", "--config", path, "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"http://me:***@far/api (api.url in {bare}/prefect.toml)" in said and "secret-word" not in said


@pytest.mark.parametrize("command", ["run", "deploy", "serve"])
def test_an_address_without_a_server_is_bad_input(bare, capsys, command):
    url = f"http://127.0.0.1:{free_port()}/api"
    write("prefect.toml", url)
    arguments = ["--config", Cli(bare).config(make_config()), "--run-id", "one"] if command == "run" else []
    assert cli._main([command, *arguments]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"api.url in {bare}/prefect.toml is {url}: " in said
    assert (
        "a server is configured already" in said
        if command == "serve"
        else "remove that setting to run embedded" in said
    )
    assert not (bare / "runs" / "one").exists()


def test_another_kind_of_server_is_bad_input(bare, monkeypatch, prefect_url):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        do_GET = do_POST

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        with pytest.raises(BadInput, match="the response is not that of a Prefect server"):
            require_api(find_api())
        server.shutdown()
    monkeypatch.setenv("PREFECT_API_URL", prefect_url.removesuffix("/api"))
    with pytest.raises(BadInput, match=r"expected an address that ends in /api|no Prefect server"):
        require_api(find_api())
    for wrong in ("127.0.0.1:4200/api", "http://[::1/api"):
        monkeypatch.setenv("PREFECT_API_URL", wrong)
        with pytest.raises(BadInput, match="expected an address such as http"):
            require_api(find_api())
