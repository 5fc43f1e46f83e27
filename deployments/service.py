"""evolve serve: server, deployments and a worker in one command."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter
from rich.console import Console

from deployments.login import Login, check_login, find_login
from deployments.profile import Exposure, choose_exposure, is_loopback
from evo_core.config.bounds import MOST_WORKERS
from flows.cli.arguments import DEFAULTS, Operational, number
from flows.cli.session import read_settings
from flows.prefect_server.api import find_api
from flows.prefect_server.embedded import die_with_parent, serving
from flows.settings import BadInput, Settings
from tasks.logs.redaction import without_password

POLL_S = 3
"""Interval at which the worker polls for scheduled runs."""

END_S = 60
"""Time limit for the worker to stop its runs."""

WORKERS = 10
"""Number of worker deaths after which the service gives up."""

POOL = "evolve"


def serve(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, number("Port to listen on.", 1, 65_535)] = 4200,
    origin: Annotated[
        str | None,
        Parameter(help="Where browsers open the UI, behind a proxy: https://evolve.example.org [host, port]."),
    ] = None,
    limit: Annotated[int, number("Runs at a time.", 1, MOST_WORKERS)] = 1,
    no_auth: Annotated[
        bool,
        Parameter(negative="", help="Require no auth string, on loopback only: every local account may run code."),
    ] = False,
    operational: Operational = DEFAULTS,
) -> int:
    """Serve the Prefect UI: server, deployments and a worker in one command, until Ctrl-C."""
    settings = read_settings(asdict(operational))
    exposure = choose_exposure(host, port, origin)
    check_login(no_auth=no_auth)
    if (api := find_api()) is not None:
        raise BadInput(
            f"{api.subject}: a server is configured already. `evolve deploy` registers the deployments "
            "there, and `prefect worker start --pool evolve` runs them; or unset it, to serve from here"
        )
    settings.check_trackers()
    settings.check_reach(None if is_loopback(host) else exposure.api)
    _check_port(host, port)
    # flows run in temporary directories
    settings = settings.model_copy(update={"store": settings.store_url, "study": settings.study_url})
    settings.export()
    return _serve_until_stopped(settings, exposure, find_login(no_auth=no_auth), host, port, limit)


def _serve_until_stopped(settings: Settings, exposure: Exposure, login: Login, host: str, port: int, limit: int) -> int:
    """Run server and worker until Ctrl-C or SIGTERM; return 1 if the server ended again and again."""
    console = Console(stderr=True)
    console.print("starting the Prefect server …", style="dim")
    last_words: list[str] = []

    def give_up(words: str) -> None:
        last_words.append(words)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored SIGINT is inherited from the shell
    try:
        with serving(host, port, {**exposure.environment, **login.environment}, give_up):
            from deployments.registration import register
            from flows.runs import run_ids

            names = register(run_ids(settings), limit)
            with _crash_leftover_runs(unless=last_words):
                _announce(console, settings, exposure, login, names)
                return _work(console)
    except KeyboardInterrupt:
        if last_words:
            console.print(f"the Prefect server ended repeatedly; giving up. Its last output:\n{last_words[0]}")
        return 1 if last_words else 0


def _announce(console: Console, settings: Settings, exposure: Exposure, login: Login, names: list[str]) -> None:
    """Print the addresses of all services, and the login."""
    console.print(f"Prefect UI   {exposure.origins[0]}", highlight=False)
    console.print(f"auth string  {login.describe()}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"deployments  {', '.join(names)}", highlight=False)
    console.print(f"runs         {settings.store_url}", highlight=False)
    console.print(f"lineage      {without_password(settings.study_url)}", highlight=False)
    shown = urlsplit(exposure.origins[0])
    if shown.scheme == "http" and not is_loopback(shown.hostname or ""):
        console.print("the auth string is sent unencrypted: put a proxy with TLS in front")
    console.print("Ctrl-C ends the server and what it runs; Retry continues it later.", style="dim")


def _check_port(host: str, port: int) -> None:
    if not 0 < port < 2**16:
        raise BadInput(f"--port: expected 1 to 65535, got {port}")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(f"--host {host} --port {port}: {error.strerror}; choose another --port") from None


@contextmanager
def _crash_leftover_runs(unless: list[str]) -> Iterator[None]:
    """Mark leftover flow runs of this service as crashed, before its worker starts and after it has ended. Skipped at
    the end if `unless` is not empty, because the server is gone.
    """
    from prefect.client.orchestration import get_client

    from deployments.guardian import crash_leftovers

    with get_client(sync_client=True) as client:
        crash_leftovers(client, POOL, "The service that ran it was killed.")
        try:
            yield
        finally:
            if not unless:
                crash_leftovers(client, POOL, "The service that ran it was stopped.")


def _work(console: Console) -> int:
    """Run a worker of the pool, and restart it with a warning if it dies. Its flow runs end with it.

    The pool limits the number of flow runs. The worker's own `--limit` is not used: with it, Prefect's worker dies on a
    Retry that arrives before it has released the slot of the first process.
    """
    for _ in range(WORKERS):
        with _worker() as worker:
            code = worker.wait()
        console.print(f"the worker ended unexpectedly, with code {code}; starting another one")
    console.print(f"{WORKERS} workers ended by themselves; giving up. Their output is above", style="red")
    return 1


@contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    worker = subprocess.Popen(
        command,
        env={"PREFECT_WORKER_QUERY_SECONDS": str(POLL_S), **os.environ},
        start_new_session=True,  # the service handles Ctrl-C, and stops the worker
        preexec_fn=die_with_parent(os.getpid()),
    )
    try:
        yield worker
    finally:
        worker.terminate()
        try:
            worker.wait(END_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _interrupt(number: int, frame: object) -> None:
    """Handle SIGTERM like Ctrl-C."""
    raise KeyboardInterrupt
