"""evolve serve as a laptop has it: told to end in the middle of a run, and started again."""

import signal

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry

from deployments.form import DEFAULTS, config_of
from evo_core.local import train_on_policy
from evo_core.records import record_hash
from tasks.run_store import RunStore
from tasks.store import open_store
from tests.deployments.working import serving
from tests.flows.conftest import descendants, kill_all
from tests.services import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FORM = {
    "population_size": 3,
    "evo_steps": 8192,
    "max_steps": 73_728,
    "num_envs": 4,
    "learn_step": 512,
    "batch_size": 64,
}


def states(client, flow_run):
    return [state.type for state in client.read_flow_run_states(flow_run)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_service_that_ends_leaves_a_crashed_run_which_retry_finishes_with_the_same_chain(tmp_path, end):
    port, store = free_port(), tmp_path / "runs"
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}),
        get_client(sync_client=True) as client,
    ):
        with serving(tmp_path, port, {}) as service:
            deployment = client.read_deployment_by_name("evolve/evolve")
            parameters = {**FORM, "run_id": "served"}
            flow_run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id
            wait_for(lambda: list(store.glob("served/gen/000001/m/*.train.json")), timeout_s=240)
            if end == signal.SIGKILL:
                kill_all((service.pid, *descendants(service.pid)))
        assert list(RunStore(open_store(store.as_uri()), "served").commits())[-1].generation < 3
        with serving(tmp_path, port, {}):
            wait_for(lambda: states(client, flow_run)[-1] == StateType.CRASHED)
            client.set_flow_run_state(flow_run, AwaitingRetry(), force=True)
            wait_for(lambda: states(client, flow_run)[-1] in (StateType.COMPLETED, StateType.FAILED), timeout_s=300)
            assert states(client, flow_run)[-1] == StateType.COMPLETED, (tmp_path / "serve.log").read_text()[-3000:]
    chain = [record_hash(commit) for commit in RunStore(open_store(store.as_uri()), "served").commits()]
    oracle = train_on_policy(config_of({**DEFAULTS, **FORM, "yaml": ""}))
    assert chain == [record_hash(commit) for commit in oracle.commits]
