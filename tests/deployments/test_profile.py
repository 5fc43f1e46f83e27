"""Addresses of `evolve serve`, and rejection of unsafe ones."""

import signal
import socket
import threading
from contextlib import contextmanager, nullcontext

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from deployments import service
from deployments.profile import choose_exposure, is_loopback
from deployments.service import serve
from flows.cli.arguments import Operational
from flows.prefect_server.embedded import CLIENT_AUTH, SERVER_AUTH
from flows.prefect_server.origin_check import SameOriginMiddleware
from flows.settings import BadInput
from tests.flows.conftest import here
from tests.services import free_port, wait_for


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    for name in (SERVER_AUTH, CLIENT_AUTH, "PREFECT_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_no_auth_string(host):
    assert is_loopback(host)
    exposure = choose_exposure(host, 4200, None)
    assert all(origin.startswith("http://") and origin.endswith(":4200") for origin in exposure.origins)
    assert {"127.0.0.1:4200", "localhost:4200"} <= set(exposure.hosts)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("0.0.0.0", "http://evolve.example.org:4200"),
        ("::", "http://evolve.example.org:4200"),
        ("192.168.1.5", None),
        ("evolve.example.org", None),
        ("127.0.0.1.example.org", None),
        ("127.0.0.1", "https://evolve.example.org"),
    ],
)
def test_any_other_address_is_refused_without_one(host, origin, monkeypatch):
    with pytest.raises(BadInput, match=f"{SERVER_AUTH}=user:password"):
        serve(host=host, port=free_port(), origin=origin)
    monkeypatch.setenv(SERVER_AUTH, "operator:long-enough")
    exposure = choose_exposure(host, 4200, origin)
    assert exposure.origins == (origin or f"http://{host}:4200",)


@pytest.mark.parametrize(
    ("host", "port", "origin", "opened", "called"),
    [
        ("MyBox", 4200, None, "http://mybox:4200", "mybox:4200"),
        ("mybox", 80, None, "http://mybox", "mybox"),
        ("127.0.0.1", 4200, "https://Evolve.Example.org", "https://evolve.example.org", "evolve.example.org"),
        ("127.0.0.1", 4200, "https://evolve.example.org:443", "https://evolve.example.org", "evolve.example.org"),
        ("fd00::5", 4200, None, "http://[fd00::5]:4200", "[fd00::5]:4200"),
    ],
)
def test_names_are_compared_as_browsers_send_them(host, port, origin, opened, called, monkeypatch):
    monkeypatch.setenv(SERVER_AUTH, "operator:long-enough")
    exposure = choose_exposure(host, port, origin)
    assert exposure.origins == (opened,)
    assert exposure.hosts[0] == called


def test_programs_may_write_the_port_that_browsers_do_not(monkeypatch):
    exposure = choose_exposure("127.0.0.1", 80, None)
    assert exposure.origins == ("http://127.0.0.1", "http://localhost", "http://[::1]")
    assert {"127.0.0.1", "127.0.0.1:80", "localhost:80"} <= {*exposure.hosts}


@pytest.mark.parametrize(
    "origin", ["evolve.example.org", "https://evolve.example.org/", "ftp://x", "https://x/api", ""]
)
def test_an_origin_is_scheme_host_and_port(origin):
    with pytest.raises(BadInput, match="only scheme, host and port"):
        choose_exposure("127.0.0.1", 4200, origin)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_on_all_addresses_requires_an_origin(host):
    with pytest.raises(BadInput, match="--origin http://NAME:4200"):
        choose_exposure(host, 4200, None)


async def hello(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
    else:
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture(scope="module")
def behind_the_door():
    """The port of an application behind the origin check of `evolve serve`."""
    port = free_port()
    app = SameOriginMiddleware(hello, [f"127.0.0.1:{port}", f"localhost:{port}"], [f"http://127.0.0.1:{port}"])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("host", "origin", "let_in"),
    [
        ("127.0.0.1:{port}", None, True),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", True),
        ("localhost:{port}", None, True),
        ("evil.example:{port}", "http://evil.example:{port}", False),
        ("evil.example:{port}", None, False),
        ("127.0.0.1:{port}", "http://evil.example", False),
        ("127.0.0.1:{port}", "null", False),
        ("127.0.0.1", None, False),
    ],
)
def test_requests_for_other_hosts_or_from_other_origins_are_rejected(behind_the_door, host, origin, let_in):
    headers = {"host": host.format(port=behind_the_door)}
    headers |= {"origin": origin.format(port=behind_the_door)} if origin else {}
    answer = httpx.get(f"http://127.0.0.1:{behind_the_door}/", headers=headers)
    assert (answer.status_code, answer.text) == (200, "hello") if let_in else answer.status_code == 403


@pytest.mark.parametrize(("origin", "let_in"), [("http://127.0.0.1:{port}", True), ("http://evil.example", False)])
def test_pages_of_other_origins_cannot_open_websockets(behind_the_door, origin, let_in):
    url = f"ws://127.0.0.1:{behind_the_door}/api/events/out"
    with nullcontext() if let_in else pytest.raises(InvalidStatus):
        connect(url, origin=origin.format(port=behind_the_door), proxy=None).close()


@pytest.mark.parametrize("auth", ["", "operator", "operator:", ":password1", "operator:short"])
def test_a_weak_auth_string_is_refused_everywhere(auth, monkeypatch):
    monkeypatch.setenv(SERVER_AUTH, auth)
    with pytest.raises(BadInput, match="at least 8 characters"):
        choose_exposure("127.0.0.1", 4200, None)


def test_a_server_that_is_configured_already_is_not_shadowed(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
    with pytest.raises(BadInput, match="evolve deploy"):
        serve(port=free_port())


def test_an_invalid_port_is_refused():
    with pytest.raises(BadInput, match="expected 1 to 65535, got 99999"):
        serve(port=99999)


def test_a_port_in_use_is_reported_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="choose another --port"):
        serve(port=taken.getsockname()[1])


def test_workers_elsewhere_cannot_reach_a_server_on_loopback(monkeypatch):
    operational = Operational(engine="tcp://scheduler.example.org:8786", store="s3://evolve/runs")
    with pytest.raises(BadInput, match="PREFECT_API_URL"):
        serve(port=free_port(), operational=operational)


__all__ = ["here"]


def test_a_server_that_is_given_up_ends_the_service_with_its_last_words(here, monkeypatch, capsys):
    @contextmanager
    def dying(host, port, environment, give_up):
        threading.Timer(0.5, give_up, ["database disk image is malformed"]).start()
        yield

    monkeypatch.setattr(service, "serving", dying)
    monkeypatch.setattr(service, "_work", lambda console: threading.Event().wait(30))  # until it is interrupted
    monkeypatch.setattr("deployments.registration.register", lambda runs, limit: [])
    monkeypatch.setattr(service, "_crash_leftover_runs", lambda unless: nullcontext())  # the server is not there
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert serve(port=free_port()) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "database disk image is malformed" in capsys.readouterr().err
