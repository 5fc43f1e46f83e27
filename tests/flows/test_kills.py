"""Runs whose processes are killed at any time resume to the chain of an undisturbed run, byte for byte.

The whole stack is real: embedded Prefect server, Dask workers, S3 server, PPO on CartPole.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import optuna
import pytest

from evo_core.records.chain import record_hash
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tests.conftest import make_config
from tests.flows.conftest import ROOT, Cli, alive, command_of, descendants, kill_all, workers_of
from tests.services import BUCKET, S3Server, s3_server, start_s3, wait_for
from tests.spreading import undisturbed

CONFIG = make_config(**{"training.evo_steps": 4096, "training.max_steps": 36_864, "algorithm.update_epochs": 4})
VICTIMS = ("worker", "flow", "prefect", "s3")
KILLS = 3


@pytest.fixture(scope="module")
def oracle():
    return undisturbed(CONFIG)


class Campaign:
    """A run that is killed repeatedly, and all processes that it has started."""

    def __init__(self, cli: Cli, server: S3Server) -> None:
        self.cli, self.server, self.rng = cli, server, random.Random(0)
        self.everyone: set[int] = set()
        self.struck: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start or resume the run; the command is the same."""
        arguments = ("run", "--config", "config.yaml", "--run-id", "killed", "--workers", "2", "--json")
        self.process = self.cli.start(*arguments)

    def proceed(self) -> None:
        """Start the run unless it is running."""
        if self.process is not None and not alive(self.process.pid):
            self.end()
            self.process = None
        if self.process is None:
            self.start()

    def wait(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Let it run and record every process that it starts, until a condition holds; return True then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            self.everyone |= descendants(self.process.pid)
            if until():
                return True
            time.sleep(0.1)
        return False

    def kill(self, victim: str) -> None:
        """Kill one process of a kind."""
        pid = {"flow": lambda: self.process.pid, "s3": lambda: self.server.process.pid}.get(
            victim, lambda: self.server_of_prefect() if victim == "prefect" else self.worker()
        )()
        if pid is None or not alive(pid):  # not there yet, or no more
            victim, pid = "flow", self.process.pid
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
            self.struck.append(victim)
        if victim == "s3":
            self.server.process.wait()
            time.sleep(self.rng.uniform(0, 3))
            start_s3(self.server)

    def server_of_prefect(self) -> int | None:
        """Find its Prefect server."""
        return next((pid for pid in descendants(self.process.pid) if "uvicorn" in command_of(pid)), None)

    def worker(self) -> int | None:
        """Choose one of its workers."""
        found = sorted(workers_of(self.process.pid))
        return self.rng.choice(found) if found else None

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and output."""
        self.wait(240)
        assert self.process.poll() is not None, "the run neither ends nor fails"
        out, err = self.process.communicate()
        wait_for(lambda: not any(alive(pid) for pid in self.everyone), timeout_s=30)  # no orphan outlives a run
        return self.process.returncode, out + err


@pytest.fixture
def campaign(cli, tmp_path_factory, monkeypatch):
    """Return a run with its own S3 and Prefect servers."""
    with s3_server(tmp_path_factory.mktemp("weed")) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        del cli.environment["PREFECT_API_URL"]  # every start brings its own server
        cli.environment["EVOLVE_STORE"] = f"s3://{BUCKET}/runs"
        cli.config(CONFIG)
        yield Campaign(cli, server)


def finish(campaign, oracle, restarts=3):
    """Restart a run until it succeeds; check that its chain and trials are those of an undisturbed one."""
    code, said = campaign.end()
    for _ in range(restarts):
        if code == 0:
            break
        campaign.start()
        code, said = campaign.end()
    assert code == 0, (campaign.struck, said)
    assert campaign.struck
    chain = [record_hash(commit) for commit in RunStore(open_store(f"s3://{BUCKET}/runs"), "killed").commits()]
    assert chain == [record_hash(commit) for commit in oracle.commits], campaign.struck
    trials = optuna.load_study(study_name="killed", storage=f"sqlite:///{campaign.cli.directory}/runs/study.db").trials
    members = [member.uid for commit in oracle.commits for member in commit.members]
    assert sorted(trial.user_attrs["uid"] for trial in trials) == members


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_run_whose_parts_are_killed_in_every_phase_ends_with_the_chain_of_an_undisturbed_one(
    campaign, oracle, victim
):
    store = open_store(f"s3://{BUCKET}/runs")

    def trained(generation: int) -> bool:
        return any(store.exists(f"killed/gen/{generation:06d}/m/{m:04d}.train.json") for m in range(3))

    phases = {
        "starting": campaign.server_of_prefect if victim in ("prefect", "s3") else campaign.worker,
        "training": lambda: trained(1),
        "going on": lambda: trained(2) and store.exists("killed/gen/000001/COMMIT.json"),
    }
    began = []
    for phase, reached in phases.items():
        for _ in range(3):  # a store or a server that is away while a run starts may end it
            campaign.proceed()
            if campaign.wait(180, reached):
                break
        assert reached(), (phase, campaign.struck)
        campaign.kill(victim)
        began.append(campaign.process)
    assert campaign.struck == [victim] * len(phases)
    survives = victim in ("worker", "prefect")  # once it has begun
    assert not survives or began[1] is began[2]
    finish(campaign, oracle, restarts=0 if survives else 3)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(60))
def test_a_run_that_is_killed_anywhere_ends_with_the_chain_of_an_undisturbed_one(campaign, oracle, seed):
    campaign.rng.seed(seed)
    for _ in range(KILLS):
        campaign.proceed()
        victim = campaign.rng.choice(VICTIMS)
        campaign.wait(campaign.rng.uniform(6, 24))
        campaign.kill(victim)
    finish(campaign, oracle)


KINDS = {
    "recurrent": {"algorithm.recurrent": True, "network.encoder.hidden_state_size": 16},
    "images": {
        "env.id": "minigrid:MiniGrid-Empty-5x5-v0",
        "env.wrappers": [{"FilterObservation": {"filter_keys": ["image", "direction"]}}],
        "evaluation.max_steps": 30,
        "algorithm.normalize_returns": True,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_with_memory_and_one_with_images_resume_to_the_undisturbed_chain(cli, kind):
    config = make_config(**{**KINDS[kind], "training.evo_steps": 1024, "training.max_steps": 9216})
    process = cli.start("run", "--config", cli.config(config), "--run-id", kind, "--workers", "2", "--json")
    second = cli.directory / "runs" / kind / "gen" / "000002" / "m"
    wait_for(lambda: list(second.glob("*.train.json")) or process.poll() is not None, timeout_s=120)
    kill_all({process.pid, *descendants(process.pid)})
    assert process.wait() == -signal.SIGKILL
    assert len(list(cli.run_store(kind).commits())) < 4
    result = cli.json("resume", kind, "--workers", "2")
    assert result["head"] == undisturbed(config, packages=("minigrid",)).head


@pytest.mark.slow
def test_an_environment_may_have_processes_which_end_with_their_worker_and_with_the_flow(cli):
    """It may also set a signal handler and use the event loop, as only the main thread of a script can."""
    log = cli.directory / "processes"
    cli.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    small = {"env.num_envs": 1, "training.evo_steps": 64, "training.max_steps": 128, "population.size": 2}
    arguments = ("--workers", "1", "--json", "--config")
    quick = make_config("Probe/Parent-v0", **small, **{"env.kwargs": {"log": str(log)}})
    assert cli.json("run", "--workers", "1", "--config", cli.config(quick))["status"] == "budget_spent"
    made = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert len({worker for worker, *_ in made}) > 1  # the flow's own process, and the worker
    wait_for(lambda: not any(alive(pid) for row in made for pid in row), timeout_s=30)

    log.unlink()
    slow = make_config("Probe/Parent-v0", **small, **{"env.kwargs": {"log": str(log), "pause_s": 2.0}})
    process = cli.start("run", *arguments, cli.config(slow))

    def in_workers():
        rows = [tuple(map(int, line.split())) for line in log.read_text().splitlines()] if log.exists() else []
        return [row for row in rows if row[0] in workers_of(process.pid) and all(alive(pid) for pid in row)]

    wait_for(lambda: in_workers() or process.poll() is not None, timeout_s=120)
    first = in_workers()[-1]
    os.kill(first[0], signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in first), timeout_s=10)
    wait_for(lambda: in_workers() or process.poll() is not None)
    second = in_workers()[-1]
    assert set(second).isdisjoint(first)
    process.kill()
    wait_for(lambda: not any(alive(pid) for pid in second), timeout_s=30)
    process.communicate()
