"""The services as they are deployed: a Prefect server that asks who calls, and the container files that start it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.profile import choose_exposure
from deployments.registration import register
from flows.prefect_server.embedded import CLIENT_AUTH, SERVER_AUTH
from tests.deployments.working import Ui
from tests.flows.conftest import ROOT, cli
from tests.services import credentials, free_port, prefect_server

__all__ = ["cli"]

CONTAINERS = ROOT / "deployments/containers"
COMPOSE: dict[str, Any] = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
AUTH = "operator:a-long-secret-of-the-operator"


@dataclass(frozen=True)
class Hardened:
    """A server that asks who calls."""

    port: int
    origin: str
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def server_settings(auth: str, origin: str) -> dict[str, str]:
    """What the container of the Prefect server is told, its database excepted."""
    values = {"${PREFECT_AUTH_STRING:?set it in .env}": auth, "${PREFECT_ORIGIN:?set it in .env}": origin}
    told = COMPOSE["services"]["prefect"]["environment"]
    settings = {
        name: values.get(value, value).replace("${PREFECT_ORIGIN}", origin)
        for name, value in told.items()
        if "DATABASE" not in name
    }
    assert not any("$" in value for value in settings.values()), settings
    return settings


@pytest.fixture(scope="session")
def hardened(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path, prefect_url: str) -> Iterator[Hardened]:
    """A server as its container has it."""
    home, port = copied(prefect_home, tmp_path_factory.mktemp("hardened")), free_port()
    origin = f"https://localhost:{free_port()}"
    with prefect_server(home, port, **server_settings(AUTH, origin)):
        yield Hardened(port, origin, home)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path, prefect_url: str) -> Iterator[Hardened]:
    """A server as `evolve serve` has it."""
    home, port = copied(prefect_home, tmp_path_factory.mktemp("served")), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVER_AUTH, AUTH)
        patch.setenv(CLIENT_AUTH, AUTH)
        exposure = choose_exposure("127.0.0.1", port, None)
        server = prefect_server(
            home, port, "flows.prefect_server.origin_check:create_app", **exposure.environment, **{SERVER_AUTH: AUTH}
        )
    with server:
        yield Hardened(port, exposure.origins[0], home)


def copied(source: Path, home: Path) -> Path:
    """Give a server a copy of another server's database, which saves creating one."""
    with (
        closing(sqlite3.connect(source / "prefect.db")) as database,
        closing(sqlite3.connect(home / "prefect.db")) as copy,
    ):
        database.backup(copy)
    return home


@pytest.fixture(scope="module")
def ui(prefect_url: str) -> Iterator[Ui]:
    """The UI of a server that knows the deployments."""
    register([])
    with httpx.Client(base_url=prefect_url, auth=credentials(), timeout=120) as api:
        yield Ui(api)
