"""The wheel, installed into an empty environment, in a directory with modules of the user's that have our names."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import make_config
from tests.deployments.working import Ui
from tests.flows.conftest import descendants, end_within, kill_all
from tests.services import credentials, free_port, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
OWN = 'raise AssertionError("this is the user\'s own module")\n'
ARENA = """
import gymnasium, numpy

class Arena(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(2, numpy.float32), {}

    def step(self, action):
        return numpy.zeros(2, numpy.float32), float(action), False, False, {}

gymnasium.register("Arena-v0", Arena, max_episode_steps=20)
"""
TINY = ("--training.max_steps", "3072", "--training.evo_steps", "1024", "--training.target", "null")
SMALL = ("--population.size", "3", "--evaluation.confirm_episodes", "4", "--evaluation.episodes", "2")


class Installed:
    """Runs programs of the wheel's environment in the user's directory, which is on PYTHONPATH too."""

    def __init__(self, environment: Path, project: Path) -> None:
        self.bin, self.project, self.variables = environment / "bin", project, {"PYTHONPATH": str(project)}

    def environment(self) -> dict[str, str]:
        """The variables of a process; nothing of this one's Prefect."""
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "EVOLVE_", "VIRTUAL_ENV"))}
        return inherited | self.variables

    def __call__(self, program: str, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and check its exit code."""
        command = [str(self.bin / program), *arguments]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment(), capture_output=True, text=True, timeout=400
        )
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `python ARGUMENTS` during the body; then end it with all its processes."""
        command = [str(self.bin / "python"), *arguments]
        with (self.project / "said.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.project, env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            family = descendants(process.pid)
            process.send_signal(signal.SIGTERM)
            end_within(process, 30)
            kill_all(family)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with the wheel alone; its dependencies are those of the environment that runs the tests."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = directory.glob("*.whl")
    venv.create(directory / "venv", with_pip=False)
    pip = [sys._base_executable, "-m", "pip", "--python", str(directory / "venv" / "bin" / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    site = next((directory / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return directory / "venv"


@pytest.fixture
def installed(environment, tmp_path):
    (tmp_path / "tasks.py").write_text(OWN)
    (tmp_path / "deployments.py").write_text(OWN)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text(OWN)
    (tmp_path / "arena.py").write_text(ARENA)
    return Installed(environment, tmp_path)


@pytest.fixture
def arena(installed):
    """A configuration of the environment that lies in the user's directory."""
    config = make_config("arena:Arena-v0", **{"training.max_steps": 1536})
    (installed.project / "arena.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return config


def test_the_imported_packages_are_those_of_the_wheel(installed):
    code = "import evolve_rl, evo_core.installation as i; print(i.ROOT)"
    assert installed("python", "-P", "-c", code).stdout.strip().startswith(str(installed.bin.parent))


def test_a_ready_configuration_runs_by_its_name(installed, new_prefect):
    (installed.project / "prefect").mkdir()
    shutil.copy(new_prefect, installed.project / "prefect")
    installed.variables["PREFECT_HOME"] = str(installed.project / "prefect")
    listed = installed("evolve", "configs").stdout
    assert "cartpole " in listed
    assert installed("python", "-m", "evolve_rl", "configs").stdout == listed
    ran = json.loads(installed("evolve", "run", "--config", "cartpole", *TINY, *SMALL, "--json").stdout)
    assert ran["status"] == "budget_spent" and ran["generations"] == 1


def test_a_module_that_was_imported_in_place_of_ours_is_named(installed):
    (installed.project / "tasks.py").write_text("")
    code = "import sys, tasks; sys.argv = ['evolve', 'configs']; from evolve_rl.__main__ import main; main()"
    said = installed("python", "-c", code, expect=2).stderr
    assert f"tasks was imported from {installed.project / 'tasks.py'}, but evolve needs its own" in said
    assert "my_tasks.py" in said


def test_workers_that_search_their_directory_first_train_on_an_environment_in_it(installed, arena, prefect_environment):
    installed.variables |= {**prefect_environment, "EVOLVE_ENV_PACKAGES": "arena"}
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ("-m", "distributed.cli.dask_scheduler", "--host", address, "--dashboard-address", "127.0.0.1:0")
    worker = ("-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--dashboard-address", "127.0.0.1:0")
    with installed.running(*scheduler), installed.running(*worker):
        options = ("--config", "arena.yaml", "--env-path", ".", "--engine", address)
        ran = json.loads(installed("evolve", "run", *options, "--json").stdout)
    assert ran["status"] == "budget_spent"


def test_a_deployment_runs_under_a_worker_in_the_users_directory(installed, arena, prefect_environment, prefect_url):
    installed.variables |= {
        **prefect_environment,
        "EVOLVE_STORE": str(installed.project / "runs"),
        "EVOLVE_WORKERS": "1",
        "EVOLVE_ENV_PACKAGES": "arena",
        "EVOLVE_ENV_PATH": str(installed.project),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    installed("evolve", "deploy")
    text = (installed.project / "arena.yaml").read_text()
    worker = ("-m", "prefect", "worker", "start", "--pool", "evolve", "--type", "process")
    with installed.running(*worker), httpx.Client(base_url=prefect_url, auth=credentials()) as client:
        ui = Ui(client)
        flow_run = ui.submit("evolve", {"run_id": "installed", "yaml": text})
        wait_for(lambda: list((installed.project / "runs").rglob("*.train.json")), timeout_s=240)
        guardian = subprocess.run(["pgrep", "-f", f"deployments.guardian {flow_run}"], capture_output=True)
        ended = ui.wait(flow_run)
    assert guardian.stdout, "its guardian has ended before it"
    assert ended["type"] == "COMPLETED", ended["message"]
