"""A proxy in the environment is not used for servers on this machine."""

import os

import httpx
import pytest

from flows.cli import app as cli
from flows.prefect_server.proxies import bypass_proxies

NOWHERE = "http://127.0.0.1:9"
NAMES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]


@pytest.fixture
def proxied(monkeypatch):
    """Set a proxy that does not answer, without exceptions."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
        monkeypatch.setenv(name.upper(), "")
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    return monkeypatch


def test_loopback_is_added_to_what_is_exempt_already(proxied):
    proxied.setenv("NO_PROXY", "example.org, localhost")
    for _ in range(2):
        bypass_proxies("10.0.0.7")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org, localhost,127.0.0.1,::1,10.0.0.7"
    with httpx.Client() as client:  # as Prefect's own
        direct = {
            host: client._transport_for_url(httpx.URL(f"http://{host}/")) is client._transport
            for host in ("127.0.0.1:4200", "localhost:4200", "[::1]:4200", "example.org", "example.com")
        }
    assert [host for host, found in direct.items() if not found] == ["example.com"]


@pytest.mark.parametrize(("name", "value"), [("NO_PROXY", "*"), ("HTTP_PROXY", "")])
def test_without_a_proxy_nothing_changes(proxied, name, value):
    proxied.setenv(name, value)
    before = dict(os.environ)
    bypass_proxies()
    assert dict(os.environ) == before


def test_every_command_bypasses_them(proxied, capsys):
    assert cli._main(["--version"]) == 0
    assert "127.0.0.1" in os.environ["NO_PROXY"]
