"""A Prefect API that does not answer is reported once, in a sentence."""

import httpx
import pytest

from flows.cli.ending import describe_run_failure
from flows.observers.observer import Observer, watched_by
from flows.prefect_server import outages
from flows.prefect_server.outages import announce_restart, retry_outages


class Hearing(Observer):
    def __init__(self):
        self.heard = []

    def warned(self, message):
        self.heard.append(message)


@pytest.fixture
def returns_late(monkeypatch):
    """A subflow that succeeds the fourth time it is called."""
    monkeypatch.setattr(outages, "PAUSE_S", 0.0)
    monkeypatch.setattr(outages, "_restart_announced", -outages.RESTART_S)
    tries = iter(range(4))

    def subflow():
        if next(tries) < 3:
            raise httpx.ConnectError("nobody there")
        return "done"

    return retry_outages(subflow)


def test_an_api_outage_is_reported_once(returns_late):
    with watched_by(hearing := Hearing()):
        assert returns_late() == "done"
    assert hearing.heard == ["the Prefect API is unavailable (nobody there); waiting until it is available"]


def test_the_restart_of_an_embedded_server_is_reported_once(returns_late, capsys):
    announce_restart(-9)
    with watched_by(hearing := Hearing()):
        assert returns_late() == "done"
    assert hearing.heard == []
    said = "warning: the Prefect server was killed by signal 9; restarting it, and runs continue\n"
    assert capsys.readouterr().err == said


def test_a_run_that_ends_because_the_api_is_unavailable_says_so():
    assert describe_run_failure(httpx.ConnectError("nobody there")) == (
        "the Prefect API cannot be reached (ConnectError: nobody there)"
    )
    assert describe_run_failure(ValueError("no")) == "ValueError: no"
