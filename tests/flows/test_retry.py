"""Prefect as a view that may vanish: Retry in the UI goes on from the store, and an API that is away is waited for."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from evo_core.records import record_hash
from tests.conftest import make_config
from tests.deployments.working import Ui
from tests.flows.conftest import ROOT, Cli, alive, command_of, descendants, kill_all, workers_of
from tests.services import free_port, prefect_server, wait_for
from tests.spreading import undisturbed

CONFIG = make_config(**{"training.evo_steps": 8192, "training.max_steps": 73_728, "algorithm.update_epochs": 4})
SERVE = "from flows.evolve import evolve; evolve.serve('retry', limit=1, print_starting_message=False)"


@pytest.fixture(scope="module")
def oracle():
    return undisturbed(CONFIG)


@contextmanager
def served(cli: Cli):
    """A process that serves the flow as a deployment."""
    settings = {
        "EVOLVE_STORE": str(cli.directory / "runs"),
        "EVOLVE_WORKERS": "2",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    environment = {**os.environ, **cli.environment, **settings, "PYTHONPATH": str(ROOT)}
    with (cli.directory / "serve.log").open("wb") as log:
        command = [sys.executable, "-c", SERVE]
        runner = subprocess.Popen(command, cwd=cli.directory, env=environment, stdout=log, stderr=log)
        try:
            yield runner
        finally:
            kill_all(descendants(runner.pid))
            runner.kill()
            runner.wait()


@pytest.mark.slow
def test_retry_in_the_ui_continues_a_crashed_run_from_the_store(cli, prefect_url, oracle):
    with served(cli) as runner, httpx.Client(base_url=prefect_url, timeout=30) as api:
        ui = Ui(api)

        def deployments():
            found = ui.answer("POST", "deployments/filter", json={"deployments": {"name": {"any_": ["retry"]}}}).json()
            return [deployment["id"] for deployment in found if deployment["status"] == "READY"]

        wait_for(deployments, timeout_s=180)
        parameters = {"config": CONFIG.model_dump(mode="json")}
        created = ui.answer("POST", f"deployments/{deployments()[0]}/create_flow_run", json={"parameters": parameters})
        flow_run = created.json()["id"]
        run = cli.directory / "runs" / f"cartpole-v1-{flow_run[-8:]}"

        wait_for(lambda: list(run.glob("gen/000002/m/*.train.json")), timeout_s=120)
        (flow_process,) = (pid for pid in workers_of(runner.pid) if descendants(pid))
        family = descendants(flow_process)
        os.kill(flow_process, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in family))
        ui.wait(flow_run, "CRASHED")
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
        assert not (run / "gen/000002/COMMIT.json").exists()

        ui.retry(flow_run)
        ended = ui.wait(flow_run, "COMPLETED", "FAILED")
        assert ended["type"] == "COMPLETED", (cli.directory / "serve.log").read_text()[-4000:]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert [record_hash(c) for c in cli.run_store(run.name).commits()] == [record_hash(c) for c in oracle.commits]
    assert len([path for path in (cli.directory / "runs").iterdir() if path.is_dir()]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [20, 60])
def test_a_run_survives_a_prefect_api_that_is_away(cli, oracle, new_prefect, away_s):
    port, home = free_port(), cli.directory / "prefect"
    home.mkdir()
    shutil.copy(new_prefect, home)
    cli.environment |= {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(home)}
    with prefect_server(home, port):
        process = cli.start("run", "--config", cli.config(CONFIG), "--run-id", "patient", "--workers", "2", "--json")
        wait_for(lambda: (cli.directory / "runs/patient/gen/000001/m/0000.train.json").exists(), timeout_s=120)
    time.sleep(away_s)
    with prefect_server(home, port):
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert oracle.head in out


@pytest.mark.slow
def test_the_embedded_server_is_started_again_when_it_dies(cli, oracle):
    del cli.environment["PREFECT_API_URL"]
    process = cli.start("run", "--config", cli.config(CONFIG), "--run-id", "served", "--workers", "2", "--json")
    wait_for(lambda: (cli.directory / "runs/served/gen/000001/m/0000.train.json").exists(), timeout_s=120)
    (server,) = (pid for pid in descendants(process.pid) if "uvicorn" in command_of(pid))
    os.kill(server, signal.SIGKILL)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert oracle.head in out
