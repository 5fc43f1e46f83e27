"""`evolve serve` that ends in the middle of a run and is started again."""

import shutil
import signal
from contextlib import ExitStack

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry

from tests.deployments.working import FORM, chain, serving, undisturbed_form
from tests.flows.conftest import command_of, descendants, kill_all
from tests.services import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def states(client, flow_run):
    return [state.type for state in client.read_flow_run_states(flow_run)]


def replace_worker(service, log):
    """Kill the service's worker, and wait until it is replaced."""
    kill_all(pid for pid in descendants(service.pid) if "worker start" in command_of(pid))
    wait_for(lambda: log.read_text().count("started!") == 2, timeout_s=120)
    assert "the worker ended unexpectedly, with code -9; starting another one" in log.read_text()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_service_that_ends_leaves_a_crashed_run_which_retry_finishes_with_the_same_chain(tmp_path, new_prefect, end):
    port, store = free_port(), tmp_path / "runs"
    (tmp_path / "prefect").mkdir()
    shutil.copy(new_prefect, tmp_path / "prefect")
    with ExitStack() as stack:
        with serving(tmp_path, port, {}) as service:
            kept = tmp_path / "prefect/evolve-auth"
            assert kept.stat().st_mode & 0o777 == 0o600
            auth = kept.read_text().strip()
            assert f"auth string  {auth}   (kept in {kept})\n" in (tmp_path / "serve.log").read_text()
            settings = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_API_AUTH_STRING: auth}
            stack.enter_context(temporary_settings(settings))
            client = stack.enter_context(get_client(sync_client=True))
            if end == signal.SIGKILL:
                replace_worker(service, tmp_path / "serve.log")
            deployment = client.read_deployment_by_name("evolve/evolve")
            parameters = {**FORM, "run_id": "served"}
            flow_run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id
            wait_for(lambda: list(store.glob("served/gen/000001/m/*.train.json")), timeout_s=240)
            if end == signal.SIGKILL:
                kill_all((service.pid, *descendants(service.pid)))
        assert len(chain(store, "served")) < 4
        with serving(tmp_path, port, {}):
            said = (tmp_path / "serve.log").read_text()
            assert f"auth string  the content of {kept}\n" in said and auth not in said
            wait_for(lambda: states(client, flow_run)[-1] == StateType.CRASHED, interval_s=0.5)
            client.set_flow_run_state(flow_run, AwaitingRetry(), force=True)
            final = (StateType.COMPLETED, StateType.FAILED)
            wait_for(lambda: states(client, flow_run)[-1] in final, timeout_s=300, interval_s=0.5)
            assert states(client, flow_run)[-1] == StateType.COMPLETED, (tmp_path / "serve.log").read_text()[-3000:]
    assert chain(store, "served") == undisturbed_form(FORM)
