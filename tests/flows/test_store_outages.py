"""Runs on an S3 service with faults: temporary ones are retried, others end the run soon with a clear error."""

import time

import pytest

from tests.conftest import make_config
from tests.flows.conftest import alive, descendants
from tests.proxy import at_random, fault_proxy
from tests.services import BUCKET, wait_for
from tests.spreading import undisturbed

CONFIG = make_config(**{"training.evo_steps": 2048, "training.max_steps": 36_864, "algorithm.update_epochs": 4})
FAULTS = ("500", "503", "507", "404", "hang", "truncate", "flip", "lost reply")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def oracle():
    return undisturbed(CONFIG)


@pytest.fixture
def started(cli, s3, tmp_path):
    """Start a run through a proxy without faults; wait until its first member is trained."""
    with fault_proxy(s3.port) as proxy:
        store = f"s3://{BUCKET}/{tmp_path.name}"
        cli.environment |= {**s3.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint, "EVOLVE_STORE": store}
        seen = []
        proxy.choose = lambda request: seen.append(request.path)
        process = cli.start("run", "--config", cli.config(CONFIG), "--run-id", "faulty", "--workers", "2", "--json")
        wait_for(lambda: any(path.endswith(".train.json") for path in seen), timeout_s=120)
        yield process, proxy


def test_a_tenth_of_all_requests_may_fail(started, oracle):
    process, proxy = started
    proxy.choose = at_random(0.1, 1, FAULTS)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert oracle.head in out
    assert sum(proxy.broken.values()) >= 10


def test_an_outage_of_a_minute_is_waited_for(started, oracle):
    process, proxy = started
    proxy.choose = lambda request: "503"
    time.sleep(60)
    assert process.poll() is None
    proxy.choose = lambda request: None
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert oracle.head in out


def test_credentials_that_are_refused_stop_a_run_soon(started):
    process, proxy = started
    family = descendants(process.pid)
    proxy.choose = lambda request: "403"
    began = time.monotonic()
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - began < 30
    assert process.returncode == 1
    assert "access denied" in out
    assert "evolve resume faulty" in err
    wait_for(lambda: not any(alive(pid) for pid in family))
