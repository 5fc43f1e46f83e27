"""Fixtures of flow tests: the command line, finished runs, and the processes of runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import deliver
from flows.views.view_process import NAME as STUDY
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tests.conftest import make_config
from tests.fake import confirm_elite, evolve
from tests.preloaded import FORK_SERVER, Forked, can_fork

ROOT = Path(__file__).parents[2]
EVOLVE = Path(sys.executable).parent / "evolve"


@dataclass
class Cli:
    """Runs `evolve` commands in a directory, in forks of a process that has imported everything (preloaded.py).

    With `fresh`, each command starts a new Python, as for users.
    """

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    fresh: bool = False

    def start(self, *arguments: str) -> subprocess.Popen[str] | Forked:
        """Start a command in the background; variables of Prefect are those of `environment` alone."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = {**inherited, **self.environment}
        if not self.fresh and can_fork(arguments, environment):
            return Forked(list(arguments), str(self.directory), environment)
        return subprocess.Popen(
            [str(EVOLVE), *arguments],
            cwd=self.directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, expect: int = 0, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == expect, f"exit code {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Run a command with --json; standard output must be one JSON object."""
        result: dict[str, Any] = json.loads(self(*arguments, "--json", expect=expect).stdout)
        return result

    def config(self, config: RunConfig, name: str = "config.yaml") -> str:
        """Write a configuration file; return the flag's value."""
        path = self.directory / name
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        return str(path)

    def run_store(self, run_id: str) -> RunStore:
        """Open a run of the default store."""
        return RunStore(open_store((self.directory / "runs").as_uri()), run_id)


@pytest.fixture
def cli(tmp_path: Path, prefect_environment: dict[str, str]) -> Cli:
    """Return the command line, with a running Prefect server."""
    return Cli(tmp_path, dict(prefect_environment))


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]
) -> tuple[Cli, dict[str, Any]]:
    """Run three generations as `whole` on two workers; return the command line and the result. Change only copies.

    The command is a new Python, and finds the server through a file of Prefect's settings.
    """
    directory = tmp_path_factory.mktemp("finished")
    cli = Cli(directory, {"PREFECT_HOME": prefect_environment["PREFECT_HOME"]}, fresh=True)
    url, auth = prefect_environment["PREFECT_API_URL"], prefect_environment["PREFECT_API_AUTH_STRING"]
    (cli.directory / "prefect.toml").write_text(f'[api]\nurl = "{url}"\nauth_string = "{auth}"\n')
    result = cli.json("run", "--config", cli.config(make_config()), "--run-id", "whole", "--workers", "2")
    return Cli(directory, dict(prefect_environment)), result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a new directory; remove the EVOLVE_ variables that the test sets."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield tmp_path
    for name in [name for name in os.environ if name.startswith("EVOLVE_")]:
        os.environ.pop(name) if name not in before else os.environ.__setitem__(name, before[name])


def make_run(store: Path, run_id: str, config: RunConfig) -> RunRef:
    """Evolve a whole run in this process, without Prefect's server."""
    run = RunRef(store.as_uri(), run_id, config, "cpu")
    deliver(config, evolve(run, spaces=run.environment().spaces), partial(confirm_elite, run))
    return run


def make_runs(store: Path, configs: Mapping[str, RunConfig]) -> Path:
    """Evolve whole runs by name; return their store."""
    for run_id, config in configs.items():
        make_run(store, run_id, config)
    return store


def descendants(pid: int) -> set[int]:
    """Return the ids of all processes below a process."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def alive(pid: int) -> bool:
    """Return True if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes, some of which may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_within(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until a process that was asked to end has ended; after a timeout, kill it and all below it."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill_all({process.pid, *descendants(process.pid)})
        process.wait()


def command_of(pid: int) -> str:
    """Return the command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def workers_of(pid: int) -> set[int]:
    """Return the ids of the Dask workers below a process: forks of its fork server, or started by `dask worker`."""
    below = {child for child in descendants(pid) if name_of(child) != STUDY}
    forked = {child for server in below & fork_servers(below) for child in descendants(server) & fork_servers(below)}
    return forked or {child for child in below if "spawn_main" in command_of(child)}


def fork_servers(pids: Iterable[int]) -> set[int]:
    """Return the fork servers among processes, with their workers, which have the same command line or name."""
    return {pid for pid in pids if "forkserver" in command_of(pid) or name_of(pid) == FORK_SERVER}


def name_of(pid: int) -> str:
    """Return the name of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
