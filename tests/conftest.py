"""Fixtures and configurations shared by all tests."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from xdist.remote import Producer

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from flows.cli import output
from flows.prefect_server.embedded import EMBEDDED, prefect_api
from flows.settings import ENV_PREFIX
from tests import probes
from tests.plugins import importable, install_example
from tests.services import S3Server, migrated_database, s3_server, server_errors
from tests.spreading import SCOPES, Scheduling, share, spread


def pytest_configure(config: pytest.Config) -> None:
    """Choose where the processes of pytest-xdist say which tests go to one of them."""
    gc.disable()  # or it takes as long as the imports themselves, whose millions of objects all stay
    if SCOPES not in os.environ:
        directory = tempfile.TemporaryDirectory(prefix="tests-")
        config.add_cleanup(directory.cleanup)
        os.environ[SCOPES] = str(Path(directory.name, "scopes.json"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first."""
    spread(items)


def pytest_collection_finish() -> None:
    """Turn garbage collection on again, without the objects of imported modules."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Keep the tests of a module together."""
    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the directory that all processes of this test session share."""
    return share(tmp_path_factory)


@pytest.fixture(scope="session")
def example_plugin(shared: Path) -> Path:
    """Install the example plugin package; return the directory that holds it."""
    return install_example(shared)


@pytest.fixture
def plugins_installed(example_plugin: Path) -> Iterator[None]:
    """Have the example's plugins in this process."""
    with importable(example_plugin):
        yield


def make_config(env: str = "CartPole-v1", **overrides: object) -> RunConfig:
    """Return a configuration of three members on CartPole that trains in a second, with overrides by dotted name."""
    base = {
        "env": {"id": env, "num_envs": 4},
        "algorithm": {"learn_step": 128, "batch_size": 64, "update_epochs": 2},
        "network": {
            "latent_dim": 16,
            "encoder": {"hidden_size": [16]},
            "head": {"hidden_size": [16]},
            "bounds": {"layers": [1, 3], "nodes": [8, 64], "latent_dim": [8, 64]},
        },
        "search": {
            "lr": {"min": 1e-4, "max": 1e-2, "scale": "log"},
            "batch_size": {"min": 16, "max": 128, "scale": "log"},
        },
        "population": {"size": 3},
        "training": {"max_steps": 2304, "evo_steps": 256},
        "evaluation": {"episodes": 2, "confirm_episodes": 4},
        "mutation": {"no_mutation": 0.2, "activation": 0.2},
    }
    return parse_config(base, overrides)


@pytest.fixture(autouse=True)
def _own_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give standard output back after a test whose command, called in this process, reserved it for JSON."""
    monkeypatch.setattr(output, "_reserved", None)


@pytest.fixture(scope="module", autouse=True)
def _own_environment() -> Iterator[None]:
    """Remove settings that a module's tests have exported, and let Prefect read its settings again.

    Commands called in this process export their settings. Prefect without the address of its API starts a server.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}
    yield
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        del os.environ[name]
    os.environ.update(before)
    if context := sys.modules.get("prefect.context"):
        context.refresh_global_settings_context()


@pytest.fixture
def config() -> RunConfig:
    """Return the smallest configuration."""
    return make_config()


probes.register()
# a busy machine takes longer over an example than hypothesis allows by default
hypothesis.settings.register_profile("patient", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")
torch.set_num_threads(1)  # threads of several test processes wait for each other ten times longer than they compute


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start an S3 server, and set its address and credentials in this process's environment."""
    with s3_server(tmp_path_factory.mktemp("weed")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def new_prefect(shared: Path) -> Path:
    """Return the path of an unused database for Prefect servers; every server copies it."""
    return migrated_database(shared)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory, new_prefect: Path) -> Path:
    """Create a Prefect home for the tests, instead of the user's."""
    home = tmp_path_factory.mktemp("prefect")
    shutil.copy(new_prefect, home)
    return home


@pytest.fixture(scope="session")
def prefect_environment(prefect_url: str, prefect_home: Path) -> dict[str, str]:
    """Return the environment variables by which a process finds the Prefect server."""
    auth = {"PREFECT_API_AUTH_STRING": os.environ["PREFECT_API_AUTH_STRING"]}
    return {"PREFECT_API_URL": prefect_url, "PREFECT_HOME": str(prefect_home), **auth}


@pytest.fixture(scope="session")
def prefect_url(prefect_home: Path) -> Iterator[str]:
    """Start a Prefect server with an auth string, which this process sends; return the URL of its API.

    It has all services, because deployments run under it too. After the tests, its log must contain no errors.
    """
    log = prefect_home / "server.log"
    before = {name: os.environ.pop(name, None) for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")}
    services = {name: "true" for name in EMBEDDED if "_SERVICES_" in name}
    os.environ |= services | {"PREFECT_HOME": str(prefect_home)}
    with prefect_api(log) as url:
        for name in services:  # those of runs with a server of their own are off
            del os.environ[name]
        os.environ["PREFECT_HOME"] = str(prefect_home)
        yield url
        for service in (APILogWorker, EventsWorker):  # this process would try to send the rest for minutes as it ends
            service.drain_all(timeout=30)
        said = log.read_text(errors="replace")  # before the server ends, which cuts off whoever is connected
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    assert server_errors(said) == []
