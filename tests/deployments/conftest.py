"""Prefect servers configured as the container files and `evolve serve` configure them."""

import shutil
from collections.abc import Iterator
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
    """A Prefect server with an auth string."""

    port: int
    origin: str
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def server_settings(auth: str, origin: str) -> dict[str, str]:
    """Return the environment variables of the Prefect server's container, except its database."""
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
def hardened(tmp_path_factory: pytest.TempPathFactory, new_prefect: Path) -> Iterator[Hardened]:
    """Start a server with the settings of its container."""
    home, port = tmp_path_factory.mktemp("hardened"), free_port()
    shutil.copy(new_prefect, home)
    origin = f"https://localhost:{free_port()}"
    with prefect_server(home, port, **server_settings(AUTH, origin)):
        yield Hardened(port, origin, home)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, new_prefect: Path) -> Iterator[Hardened]:
    """Start a server with the settings of `evolve serve`."""
    home, port = tmp_path_factory.mktemp("served"), free_port()
    shutil.copy(new_prefect, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVER_AUTH, AUTH)
        patch.setenv(CLIENT_AUTH, AUTH)
        exposure = choose_exposure("127.0.0.1", port, None)
        server = prefect_server(
            home, port, "flows.prefect_server.origin_check:create_app", **exposure.environment, **{SERVER_AUTH: AUTH}
        )
    with server:
        yield Hardened(port, exposure.origins[0], home)


@pytest.fixture(scope="module")
def ui(prefect_url: str) -> Iterator[Ui]:
    """Register the deployments; return a client that does what the UI does."""
    register([])
    with httpx.Client(base_url=prefect_url, auth=credentials(), timeout=120) as api:
        yield Ui(api)
