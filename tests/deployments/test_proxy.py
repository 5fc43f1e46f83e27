"""The shipped nginx.conf in front of a real Prefect server and a real optuna-dashboard, with TLS."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import optuna
import pytest
from prefect.client.orchestration import get_client
from prefect.events import Event, Resource
from prefect.events.clients import PrefectEventsClient, PrefectEventSubscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_SSL_CERT_FILE, PREFECT_API_URL, temporary_settings

from tasks.store import ConflictError, open_store
from tests.deployments.conftest import AUTH, CONTAINERS, Hardened
from tests.flows.conftest import end_within
from tests.services import BUCKET, free_port, missing, wait_for

BASIC = tuple(AUTH.split(":"))
READER = ("reader", "the password of the dashboard")
DASHBOARD = "optuna.localhost"
WRAPPER = """{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{}}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    include {directory}/site.conf;
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    port: int
    certificate: Path

    @property
    def prefect(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, name: str = "localhost", **options: object) -> httpx.Client:
        """A client that trusts the certificate and resolves every name to this machine."""
        trusted = ssl.create_default_context(cafile=str(self.certificate))
        client = httpx.Client(base_url=self.prefect, verify=trusted, timeout=120, **options)
        client.headers["Host"] = f"{name}:{self.port}"
        client.event_hooks["request"] = [lambda request: request.extensions.update(sni_hostname=name)]
        return client


def program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") or missing(
        f"needs {name}: apt-get install nginx-light openssl"
    )


def secrets(directory: Path) -> None:
    """Make certificate, key and passwords by the commands of docs/deployment/containers.md."""
    names = f"subjectAltName=DNS:localhost,DNS:{DASHBOARD}"
    make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=evolve", "-addext", names]
    files = ["-keyout", str(directory / "tls.key"), "-out", str(directory / "tls.crt")]
    subprocess.run([program("openssl"), *make, *files], check=True, capture_output=True)
    hashed = subprocess.run([program("openssl"), "passwd", "-6", READER[1]], check=True, capture_output=True, text=True)
    (directory / "htpasswd").write_text(f"{READER[0]}:{hashed.stdout}")


@contextmanager
def running(command: list[str], log: Path, ready: str) -> Iterator[None]:
    """A service that runs until the body ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(ready, timeout=5).status_code < 500
        except httpx.TransportError:
            return False

    try:
        wait_for(answers)
        yield
    finally:
        process.terminate()
        end_within(process, 20)


@pytest.fixture(scope="module")
def proxy(hardened: Hardened, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("nginx")
    port, dashboard = int(hardened.origin.rpartition(":")[2]), free_port()
    secrets(directory)
    study = f"sqlite:///{directory / 'study.db'}"
    optuna.create_study(storage=study, study_name="lineage")
    site = (CONTAINERS / "nginx.conf").read_text()
    for shipped, here in {
        "prefect:4200": f"127.0.0.1:{hardened.port}",
        "optuna:8080": f"127.0.0.1:{dashboard}",
        "listen 8443 ": f"listen 127.0.0.1:{port} ",
        "/run/secrets": str(directory),
        "${PREFECT_NAME}": "localhost",
        "${OPTUNA_NAME}": DASHBOARD,
        "${OPTUNA_ORIGIN}": f"https://{DASHBOARD}:{port}",
    }.items():
        assert shipped in site
        site = site.replace(shipped, here)
    serve = [str(Path(sys.executable).parent / "optuna-dashboard"), study, "--host", "127.0.0.1"]
    with (
        running([*serve, "--port", str(dashboard)], directory / "optuna.log", f"http://127.0.0.1:{dashboard}/api/meta"),
        nginx(directory, site, f"http://127.0.0.1:{port}/"),
    ):
        yield Proxy(port, directory / "tls.crt")
    warnings = [line for line in (directory / "error.log").read_text().splitlines() if "[warn]" in line]
    assert not [line for line in warnings if "buffered to a temporary file" not in line]


@contextmanager
def nginx(directory: Path, site: str, ready: str) -> Iterator[None]:
    """Run nginx with a configuration that it accepts without warnings."""
    (directory / "site.conf").write_text(site)
    user = "user root;" if os.getuid() == 0 else ""  # its workers must read the test's directory
    (directory / "nginx.conf").write_text(WRAPPER.format(directory=directory, user=user))
    command = [program("nginx"), "-p", str(directory), "-e", str(directory / "error.log"), "-c", "nginx.conf"]
    checked = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    with running(command, directory / "stderr", ready):
        yield


def test_nginx_before_the_store_keeps_signatures_conditions_and_large_checkpoints(tmp_path, s3):
    port = free_port()
    site = (CONTAINERS / "s3.conf").read_text()
    for shipped, here in {"weed:8333": f"127.0.0.1:{s3.port}", "listen 8333;": f"listen 127.0.0.1:{port};"}.items():
        assert shipped in site
        site = site.replace(shipped, here)
    with nginx(tmp_path, site, f"http://127.0.0.1:{port}/"), pytest.MonkeyPatch.context() as environment:
        for name, value in {**s3.environment, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}.items():
            environment.setenv(name, value)
        store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
        store.probe()  # creates a key twice: one that allows it is refused
        large = os.urandom(20_000_000)
        store.create("blobs/a b.safetensors", large)
        assert store.read("blobs/a b.safetensors", bytes) == large
        with pytest.raises(ConflictError):
            store.create("blobs/a b.safetensors", b"another")
        assert httpx.get(f"http://127.0.0.1:{port}/{BUCKET}/{tmp_path.name}/blobs/a%20b.safetensors").status_code == 403


def test_the_dashboard_asks_for_a_password(proxy):
    with proxy.client(DASHBOARD) as browser:
        for path in ("/", "/dashboard", "/api/studies", "/static/bundle.js"):
            assert browser.get(path).status_code == 401
            assert browser.get(path, auth=(READER[0], "wrong")).status_code == 401
            assert browser.get(path, auth=BASIC).status_code == 401
        page = browser.get("/dashboard", auth=READER)
        assert page.status_code == 200 and "/static/bundle.js" in page.text
        assert browser.get("/static/bundle.js", auth=READER).status_code == 200
        studies = browser.get("/api/studies", auth=READER).json()["study_summaries"]
        assert [study["study_name"] for study in studies] == ["lineage"]


def test_other_sites_cannot_use_the_dashboards_password(proxy):
    new = {"study_name": "another", "directions": ["minimize"]}
    with proxy.client(DASHBOARD, auth=READER) as browser:
        for origin in ("https://elsewhere.example", "null", proxy.prefect, "http://" + DASHBOARD):
            assert browser.post("/api/studies", json=new, headers={"Origin": origin}).status_code == 403
        own = f"https://{DASHBOARD}:{proxy.port}"
        assert browser.post("/api/studies", json=new, headers={"Origin": own}).status_code == 201


def test_prefects_api_answers_requests_with_the_auth_string(proxy):
    with proxy.client() as browser:
        assert browser.get("/api/health").status_code == 200
        assert browser.get("/api/version").status_code == 401
        assert browser.get("/api/version", auth=READER).status_code == 401
        assert browser.get("/api/version", auth=BASIC).status_code == 200
        page = browser.get("/", follow_redirects=True, headers={"Accept": "text/html"})
        assert page.status_code == 200 and "<html" in page.text
        assert browser.get("/ui-settings").json()["api_url"] == f"{proxy.prefect}/api"
        for header in ("Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"):
            assert header in page.headers
        assert "/" not in page.headers["Server"]  # no version
        refused = {"Prefect-Csrf-Client": "x", "Prefect-Csrf-Token": "x", "Origin": "https://elsewhere.example"}
        assert "Access-Control-Allow-Origin" not in browser.post("/api/flows/filter", headers=refused).headers


def test_a_host_name_that_is_not_served_gets_no_answer(proxy):
    with proxy.client("elsewhere.localhost") as browser, pytest.raises(httpx.TransportError):
        browser.get("/api/health")


def test_prefects_client_and_its_websockets_pass(proxy):
    name = f"evolve-tests.{uuid4()}"

    async def send_and_receive() -> tuple[str, str]:
        async with get_client() as client:
            flow = await client.create_flow_from_name(f"through-the-proxy-{uuid4()}")
            read = await client.read_flow(flow)
        filter = EventFilter(event=EventNameFilter(name=[name]))
        async with PrefectEventSubscriber(filter=filter) as received, PrefectEventsClient() as sent:
            await sent.emit(Event(event=name, resource=Resource({"prefect.resource.id": name})))
            async for event in received:
                return read.name, event.event
        raise AssertionError("the stream ended")

    trusted = {
        PREFECT_API_URL: f"{proxy.prefect}/api",
        PREFECT_API_AUTH_STRING: AUTH,
        PREFECT_API_SSL_CERT_FILE: str(proxy.certificate),
    }
    with temporary_settings(trusted):
        flow, event = asyncio.run(asyncio.wait_for(send_and_receive(), timeout=120))
    assert flow.startswith("through-the-proxy") and event == name
