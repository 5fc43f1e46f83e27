"""Start workers of the pool and `evolve serve`, and use Prefect's API as its UI does."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.form import FORM_DEFAULTS, Advanced, config_of
from deployments.guardian import OUTAGE_TIMEOUT_S
from evo_core.records.chain import record_hash
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tests.flows.conftest import EVOLVE, alive, command_of, descendants, kill_all
from tests.services import wait_for
from tests.spreading import undisturbed

FORM = {
    "population_size": 3,
    "max_steps": 36_864,
    "evo_steps": 4096,
    "num_envs": 4,
    "batch_size": 64,
    "learn_step": 512,
}
"""Parameters of a run of three generations of a few seconds each."""

ADVANCED = {"algorithm": {"update_epochs": 4}, "evaluation": {"episodes": 2, "confirm_episodes": 4}}
LASTING = {**FORM, "max_steps": 73_728, "evo_steps": 8192, "advanced": ADVANCED}
"""Parameters of a run that is still training when it is cancelled."""

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Ui:
    """The actions of a user in the UI."""

    api: httpx.Client

    def submit(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Submit the form of a deployment; return the id of the flow run."""
        flow = deployment if deployment == "evolve" else f"evolve-{deployment}"
        found = self.answer("GET", f"deployments/name/{flow}/{deployment}").json()
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": secrets.token_hex(8)}
        return str(self.answer("POST", f"deployments/{found['id']}/create_flow_run", json=body).json()["id"])

    def answer(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Send a request; repeat it while the server's database is locked."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            answers.append(self.api.request(method, path, **body))
            return answers[-1].status_code != 503

        wait_for(answered, interval_s=0.5)
        return answers[-1].raise_for_status()

    def state(self, flow_run: str) -> dict[str, Any]:
        """Return the state of a flow run."""
        state: dict[str, Any] = self.answer("GET", f"flow_runs/{flow_run}").json()["state"]
        return state

    def history(self, flow_run: str) -> str:
        """Return the names of all states of a flow run, in order."""
        states = self.answer("GET", f"flow_run_states/?flow_run_id={flow_run}").json()
        return " ".join(state["name"] for state in states)

    def running_below(self, flow_run: str) -> list[str]:
        """Return the names of the subflows of a flow run in state Running."""
        which = {"parent_flow_run_id": {"any_": [flow_run]}, "state": {"type": {"any_": ["RUNNING"]}}}
        found = self.answer("POST", "flow_runs/filter", json={"flow_runs": which}).json()
        return [run["name"] for run in found]

    def set_state(self, flow_run: str, kind: str, name: str) -> None:
        """Set the state of a flow run, as the buttons of the UI do."""
        body = {"state": {"type": kind, "name": name}, "force": kind != "CANCELLING"}
        self.answer("POST", f"flow_runs/{flow_run}/set_state", json=body)

    def retry(self, flow_run: str) -> None:
        """Press Retry."""
        self.set_state(flow_run, "SCHEDULED", "AwaitingRetry")

    def pause_pool(self, paused: bool) -> None:
        """Pause or resume the work pool."""
        self.answer("PATCH", "work_pools/evolve", json={"is_paused": paused})

    def wait(self, flow_run: str, *kinds: str, timeout_s: float = 240) -> dict[str, Any]:
        """Wait until a flow run is in one of these states, by default a final one; return its state."""
        wait_for(lambda: self.state(flow_run)["type"] in (kinds or FINAL), timeout_s=timeout_s, interval_s=0.5)
        return self.state(flow_run)


@dataclass
class Worker:
    """The process of a worker of the pool, its log and its store."""

    process: subprocess.Popen[bytes]
    log: Path
    store: Path

    def flow_processes(self) -> list[int]:
        """Return the ids of the processes that run flows."""
        return [pid for pid in descendants(self.process.pid) if "prefect.engine" in command_of(pid)]


@contextmanager
def pool_worker(directory: Path, environment: dict[str, str]) -> Iterator[Worker]:
    """Run a worker of the pool during the body; kill its processes afterwards."""
    settings = {"EVOLVE_STORE": str(directory / "runs"), "EVOLVE_WORKERS": "2", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "evolve", "--type", "process"]
    log = directory / "worker.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment, **settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    worker = Worker(process, log, directory / "runs")
    try:
        wait_for(lambda: "started!" in log.read_text(), timeout_s=120)
        yield worker
    finally:
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        kill_all(family)


@contextmanager
def serving(directory: Path, port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `evolve serve` during the body, with log, store and Prefect home in a directory; wait until it has ended."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    log = directory / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(EVOLVE), "serve", "--port", str(port), "--workers", "2"],
            cwd=directory,
            env={**inherited, "PREFECT_HOME": str(directory / "prefect"), **environment},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "started!" in log.read_text() or process.poll() is not None, timeout_s=240)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(90)
        wait_for(lambda: not any(map(alive, family)), timeout_s=OUTAGE_TIMEOUT_S + 30)  # guardians miss the server


def begun(worker: Worker, ui: Ui, run_id: str | None, **form: Any) -> tuple[str, int]:
    """Submit a run and wait until its first member is trained; return the flow run and its process."""
    before = set(worker.flow_processes())
    flow_run = ui.submit("evolve", {**LASTING, **({"run_id": run_id} if run_id else {}), **form})
    directory = worker.store / (run_id or made_up(flow_run))
    wait_for(lambda: list(directory.glob("gen/000001/m/*.train.json")), timeout_s=180)
    (process,) = set(worker.flow_processes()) - before
    return flow_run, process


def made_up(flow_run: str) -> str:
    """Return the run id that is generated for a flow run without one."""
    return f"cartpole-v1-{flow_run[-8:]}"


def undisturbed_form(form: dict[str, Any]) -> list[str]:
    """Return the chain of the same run, computed in this process."""
    advanced = Advanced(**form["advanced"]) if "advanced" in form else None
    form = {**FORM_DEFAULTS, **form, "yaml": "", "advanced": advanced}
    return [record_hash(commit) for commit in undisturbed(config_of(form)).commits]


def chain(store: Path, run_id: str) -> list[str]:
    """Return the hashes of a run's commits."""
    return [record_hash(commit) for commit in run_store(store, run_id).commits()]


def run_store(store: Path, run_id: str) -> RunStore:
    """Open a run of a store on this machine."""
    return RunStore(open_store(store.as_uri()), run_id)


def seconds_until(condition: Any, timeout_s: float = 60) -> float:
    """Wait until a condition holds; return the seconds it took."""
    began = time.monotonic()
    wait_for(condition, timeout_s=timeout_s)
    return time.monotonic() - began
