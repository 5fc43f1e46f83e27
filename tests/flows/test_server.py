"""The server that a run starts for itself: only its own pages reach it, and one that never lives is given up."""

import subprocess
import sys
import threading

import httpx
import pytest

from flows.server import RESTARTS, _keep_alive


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_pages_elsewhere_learn_nothing_from_an_embedded_server(prefect_url, header):
    for method, path in (("POST", "flow_runs/filter"), ("POST", "block_documents/filter"), ("OPTIONS", "flows/filter")):
        answer = httpx.request(method, f"{prefect_url}/{path}", headers=header)
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_its_own_page_may_call_it(prefect_url):
    own = prefect_url.removesuffix("/api")
    answer = httpx.get(f"{prefect_url}/version", headers={"Origin": own})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, own)


def test_a_server_that_dies_all_the_time_is_given_up():
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-S", "-c", ""]))
        return started[-1]

    ending, given_up = threading.Event(), threading.Event()
    keeper = threading.Thread(target=_keep_alive, args=(start(), start, ending, given_up.set))
    keeper.start()
    assert given_up.wait(60)
    assert len(started) == 1 + RESTARTS
    ending.set()
    keeper.join(30)
    assert not keeper.is_alive()
