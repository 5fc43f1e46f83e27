"""The embedded server: only its own pages can reach it, and one that keeps dying is given up."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from flows.prefect_server.embedded import CLIENT_AUTH, RESTARTS, SERVER_AUTH, _exported, _keep_alive, _refresh_settings
from tests.flows.conftest import command_of, descendants
from tests.services import credentials


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_pages_of_other_origins_cannot_read_an_embedded_server(prefect_url, header):
    for method, path in (("POST", "flow_runs/filter"), ("POST", "block_documents/filter"), ("OPTIONS", "flows/filter")):
        answer = httpx.request(method, f"{prefect_url}/{path}", headers=header)
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_embedded_server_accepts_only_its_own_run(prefect_url):
    """Clients of a server can run any code, and every account of the machine can reach loopback."""
    for auth in (None, ("evolve", ""), ("evolve", "guessed")):
        assert httpx.post(f"{prefect_url}/flow_runs/filter", json={}, auth=auth).status_code == 401
    assert httpx.post(f"{prefect_url}/flow_runs/filter", json={}, auth=credentials()).status_code == 200
    _, password = credentials()
    assert len(password) >= 32
    port = f"--port {urlsplit(prefect_url).port} "  # other tests of this process may have servers of their own
    (server,) = (
        pid
        for pid in descendants(os.getpid())
        if "flows.prefect_server.origin_check" in (said := command_of(pid)) and port in said
    )
    environment = Path(f"/proc/{server}/environ")
    assert password not in command_of(server)  # which every account can read
    assert f"{SERVER_AUTH}=evolve:{password}\0".encode() in environment.read_bytes()
    assert environment.stat().st_mode & 0o077 == 0


def test_a_run_has_no_auth_string_left_when_its_server_has_ended(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv(CLIENT_AUTH, "me:of-another-server")
        with _exported({CLIENT_AUTH: "evolve:of-this-one", "PREFECT_API_URL": "http://127.0.0.1:9/api"}):
            assert os.environ[CLIENT_AUTH] == "evolve:of-this-one"
        assert os.environ[CLIENT_AUTH] == "me:of-another-server"
    _refresh_settings()  # the next test's Prefect knows nothing of these


def test_its_own_page_may_call_it(prefect_url):
    own = prefect_url.removesuffix("/api")
    answer = httpx.get(f"{prefect_url}/version", headers={"Origin": own}, auth=credentials())
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, own)


def test_a_server_that_keeps_dying_is_given_up(capsys):
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-S", "-c", ""]))
        return started[-1]

    ending, given_up = threading.Event(), threading.Event()
    monitor = threading.Thread(target=_keep_alive, args=(start(), start, ending, given_up.set))
    monitor.start()
    assert given_up.wait(120)
    assert len(started) == 1 + RESTARTS
    said = "warning: the Prefect server ended with code 0; restarting it, and runs continue\n"
    assert capsys.readouterr().err == said * RESTARTS
    ending.set()
    monitor.join(30)
    assert not monitor.is_alive()


def test_concurrent_writes_wait_for_each_other_instead_of_failing(prefect_url):
    """Otherwise the client of a subflow, which writes beside artifacts and logs, would retry after two seconds."""

    def write(name: str) -> set[int]:
        runs = [
            {"task_key": name, "dynamic_key": f"{name}-{number}", "state": {"type": "PENDING"}} for number in range(10)
        ]
        with httpx.Client(base_url=prefect_url, auth=credentials(), timeout=60) as client:
            return {client.post("/task_runs/", json=run).status_code for run in runs}

    with ThreadPoolExecutor(8) as pool:
        assert set().union(*pool.map(write, [f"concurrent-{index}" for index in range(8)])) == {201}
