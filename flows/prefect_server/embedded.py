"""Prefect servers started by us: embedded in a run, on loopback, and the one of `evolve serve`."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from flows.prefect_server.api import configured_api
from flows.prefect_server.outages import announce_restart, prepare_client
from flows.prefect_server.proxies import bypass_proxies
from tasks.worker.worker_process import set_death_signal

START_TIMEOUT_S = 180.0
"""The very first start creates Prefect's database, which takes up to a minute on a busy machine."""

RESTARTS, WINDOW_S = 10, 600.0
"""Maximum number of restarts of the server within a window of seconds."""

ORIGINS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
HOSTS = "EVOLVE_SERVER_HOSTS"
"""Environment variables of the server's process: its allowed origins and host names (see origin_check.py)."""

SERVER_AUTH, CLIENT_AUTH = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
"""Environment variables of the auth string (user:password) of the server, and of its clients."""

ROOT = Path(__file__).parents[2]

EMBEDDED = {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # else another server would take them for registered
    **{
        f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
        for service in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "TRIGGERS", "PAUSE_EXPIRATIONS")
    },
}
"""Settings of a server that serves one run: no block types, no services for deployments, workers and automations."""


class ServerFailed(RuntimeError):
    """The embedded Prefect server did not start."""


def _nothing() -> None:
    pass


@contextmanager
def prefect_api(log: Path | None = None, meanwhile: Callable[[], None] = _nothing) -> Iterator[str]:
    """Provide a Prefect API: the configured one, or a server that lives as long as the body.

    `meanwhile` is called while the server starts, as for imports.

    A server that dies is restarted on the same port; runs wait for it. It requires a random auth string that only this
    process and its children know, because every local account can reach the server, and clients of a Prefect server can
    run code. Its output goes to the file `log`, or to an unnamed temporary file.
    """
    prepare_client()
    if url := configured_api():
        _refresh_settings()  # find_api may have imported Prefect
        meanwhile()
        yield url
        return
    port, names = _free_port(), ("127.0.0.1", "localhost")
    door = {ORIGINS: ",".join(f"http://{name}:{port}" for name in names), HOSTS: ",".join(names)}
    environment = {name: value for name, value in EMBEDDED.items() if name not in os.environ}
    environment |= door | {SERVER_AUTH: make_auth_string()}
    with serving("127.0.0.1", port, environment, _print_last_output, log, meanwhile) as url:
        yield url


@contextmanager
def no_heartbeats() -> Iterator[None]:
    """Send no heartbeats of flow runs during the body: an embedded server has no automation that needs them, and
    every subflow would wait up to a second for the thread that sends them.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def make_auth_string() -> str:
    """Generate a random auth string."""
    return f"evolve:{secrets.token_urlsafe(24)}"


def _print_last_output(words: str) -> None:
    said = "the embedded Prefect server ended repeatedly, and is given up. Its last output:"
    print(said, words, sep="\n", file=sys.stderr)


@contextmanager
def serving(
    host: str,
    port: int,
    environment: Mapping[str, str],
    give_up: Callable[[str], None],
    log: Path | None = None,
    meanwhile: Callable[[], None] = _nothing,
) -> Iterator[str]:
    """Run a Prefect server during the body, used by this process, and restart it when it dies.

    `environment` holds its settings: ORIGINS and HOSTS, and SERVER_AUTH if it asks for an auth string, which this
    process then sends. Settings are never passed on the command line, which other users could read. Yields the API's
    URL. `give_up` is called with the server's last output, from another thread, when it died too often. Its output goes
    to the file `log`, or to an unnamed one. `meanwhile` is called while it starts. ServerFailed when it does not start.
    """
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    bypass_proxies(near)
    near = f"[{near}]" if ":" in near else near
    url = f"http://{near}:{port}/api"
    ending = threading.Event()
    with log.open("w+b") if log else tempfile.TemporaryFile() as output:
        start = partial(_start, host, port, {"PREFECT_UI_API_URL": url, **environment}, output.fileno())
        server = start()
        monitor = threading.Thread(target=_keep_alive, args=(server, start, ending, lambda: give_up(_tail(output))))
        client = {"PREFECT_API_URL": url}
        if SERVER_AUTH in environment:
            client[CLIENT_AUTH] = environment[SERVER_AUTH]
        with _exported(client):
            try:
                meanwhile()
                _await_health(server, url, output)
                monitor.start()
                yield url
            finally:
                ending.set()
                monitor.join() if monitor.ident else _stop(server)


@contextmanager
def _exported(client: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of Prefect's client during the body."""
    before = {name: os.environ.get(name) for name in client}
    os.environ.update(client)
    _refresh_settings()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        _refresh_settings()


def _keep_alive(
    server: subprocess.Popen[bytes],
    start: Callable[[], subprocess.Popen[bytes]],
    ending: threading.Event,
    give_up: Callable[[], None],
) -> None:
    """Restart a server whenever it dies, up to a limit, until the run ends; then stop it.

    In one thread, because a server dies with the thread that started it (see die_with_parent).
    """
    starts: deque[float] = deque(maxlen=RESTARTS)
    while not ending.wait(0.5):
        if server.poll() is None:
            continue
        if len(starts) == RESTARTS and time.monotonic() - starts[0] < WINDOW_S:
            give_up()
            break
        starts.append(time.monotonic())
        announce_restart(server.returncode)
        server = start()
    ending.wait()
    _stop(server)


def _refresh_settings() -> None:
    """Refresh the settings of an already imported Prefect after the environment has changed."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _start(host: str, port: int, environment: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
    settings = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # at DEBUG, uvicorn logs websocket messages, the first of which contains the auth string
        "PREFECT_LOGGING_LOGGERS_UVICORN_LEVEL": "INFO",
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
        **environment,
    }
    application = "flows.prefect_server.origin_check:create_app"
    command = [sys.executable, "-P", "-m", "uvicorn", "--factory", application]  # ours: -P, --app-dir
    options = ["--app-dir", str(ROOT), "--host", host, "--port", str(port)]
    return subprocess.Popen(
        [*command, *options, "--log-level", "warning", "--timeout-graceful-shutdown", "2"],
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # the run handles Ctrl-C, and stops the server at its end
        preexec_fn=die_with_parent(os.getpid()),
    )


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return a preexec function that makes Linux end the child with the thread that starts it; None elsewhere. So a
    killed run leaves no process behind.
    """
    return partial(_end_with_parent, parent) if sys.platform == "linux" else None


def _end_with_parent(parent: int) -> None:
    set_death_signal(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _await_health(server: subprocess.Popen[bytes], url: str, output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.1)
    state = f"ended with code {server.returncode}" if server.returncode is not None else "did not answer"
    raise ServerFailed(
        f"the embedded Prefect server {state} within {START_TIMEOUT_S:.0f} s. Start one yourself (prefect server "
        f"start) and set PREFECT_API_URL, or free memory and try again. Its last output:\n{_tail(output)}"
    )


def _tail(output: IO[bytes]) -> str:
    """Read the end of a server's output."""
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
