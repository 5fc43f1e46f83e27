"""A run waits for a Prefect API that does not answer."""

import shutil
import time

import pytest

from tests.conftest import make_config
from tests.services import free_port, prefect_server, wait_for
from tests.spreading import undisturbed

CONFIG = make_config(**{"training.evo_steps": 4096, "training.max_steps": 36_864, "algorithm.update_epochs": 4})
AWAY_S = 60


@pytest.fixture(scope="module")
def oracle():
    return undisturbed(CONFIG)


@pytest.mark.slow
def test_a_run_survives_an_unavailable_prefect_api(cli, oracle, new_prefect):
    port, home = free_port(), cli.directory / "prefect"
    home.mkdir()
    shutil.copy(new_prefect, home)
    cli.environment |= {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(home)}
    with prefect_server(home, port):
        process = cli.start("run", "--config", cli.config(CONFIG), "--run-id", "patient", "--workers", "2", "--json")
        wait_for(lambda: (cli.directory / "runs/patient/gen/000001/m/0000.train.json").exists(), timeout_s=120)
    time.sleep(AWAY_S)
    with prefect_server(home, port):
        out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert oracle.head in out
