"""Local workers are forked from a process that has imported everything, and behave like new processes."""

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from distributed import Client
from distributed.comm.core import CommClosedError

from flows.engine.clusters import open_local, request_workers
from flows.engine.forkserver import PRELOADED
from flows.engine.worker_monitor import WorkerMonitor
from flows.slots import place
from tasks.generation_tasks import create_first_population
from tasks.member_tasks import evaluate_member, train_member
from tasks.runs.ref import RunRef
from tests.conftest import make_config
from tests.flows.conftest import descendants, fork_servers, workers_of
from tests.services import wait_for

NOT_NEEDED = {"optuna", "plotly", "cyclopts", "sqlalchemy", "fastapi", "scipy.stats", "networkx", "sympy"}
"""Modules that no worker needs before its member's environment does."""


@pytest.fixture
def workers():
    """A client of a local cluster of two workers."""
    told: list[str] = []
    with open_local(place(2, 2, 2, ())) as cluster, Client(cluster, set_as_default=False) as client:
        request_workers(cluster, 2)
        with WorkerMonitor(client, cluster, told.append).running():
            client.wait_for_workers(2)
            yield client


def modules() -> set[str]:
    """The modules that this process has imported."""
    return set(sys.modules)


def test_the_fork_server_imports_what_workers_need_and_starts_neither_threads_nor_cuda():
    code = f"""
import importlib, json, os, sys
for name in {PRELOADED!r}:
    importlib.import_module(name)
import torch
print(json.dumps([sorted(sys.modules), len(os.listdir("/proc/self/task")), torch.cuda.is_initialized()]))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    imported, threads, cuda = json.loads(done.stdout)
    assert not NOT_NEEDED & set(imported)
    assert {"torch", "gymnasium", "tasks.member_tasks", "distributed.worker"} <= set(imported)
    assert (threads, cuda) == (1, False)


def test_a_member_finds_all_but_few_modules_imported(workers, tmp_path):
    run = RunRef(tmp_path.as_uri(), "run", make_config(), "cpu")
    run.open().create_run(run.config)
    head = create_first_population.fn(run, run.environment().spaces)
    child = head.offspring[0]
    before = set.union(*workers.run(modules).values())

    def whole_member() -> set[str]:
        evaluate_member.fn(run, child, train_member.fn(run, child))
        return set(sys.modules)

    imported_late = {
        name for name in workers.submit(whole_member).result(timeout=120) - before if "gymnasium.envs" not in name
    }
    assert not NOT_NEEDED & imported_late
    assert len(imported_late) <= LATE, sorted(imported_late)


LATE = 10
"""Modules that the first member of a worker may import: some are loaded at their first use."""


def test_a_worker_has_the_environment_of_the_run_as_it_is_when_it_starts(monkeypatch):
    monkeypatch.setenv("EVOLVE_TEST_BEFORE", "gone")
    with open_local(place(1, 1, 2, ())) as cluster, Client(cluster, set_as_default=False) as client:
        monkeypatch.delenv("EVOLVE_TEST_BEFORE")
        monkeypatch.setenv("EVOLVE_TEST_AFTER", "there")
        monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "3")
        request_workers(cluster, 1)
        with WorkerMonitor(client, cluster, print).running():

            def look() -> tuple[dict[str, str], int]:
                from prefect.settings import get_current_settings

                return dict(os.environ), get_current_settings().client.max_retries

            environment, retries = client.submit(look).result(timeout=120)
    expected = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert {name: environment.get(name) for name in expected} == expected
    assert retries == 3
    assert not {"EVOLVE_TEST_BEFORE", "PYTHONSAFEPATH"} & (environment.keys() - os.environ.keys())


def test_workers_draw_different_numbers(workers):
    def draw() -> tuple[float, float]:
        return random.random(), np.random.random()  # noqa: NPY002

    first, second = workers.run(draw).values()
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.slow
def test_workers_whose_fork_server_is_killed_end_and_are_started_again(workers):
    first = set(workers.run(os.getpid).values())
    below = descendants(os.getpid())
    servers = {pid for pid in fork_servers(below) if descendants(pid) & first}
    assert len(servers) == 1
    os.kill(*servers, signal.SIGKILL)
    wait_for(lambda: not first & descendants(os.getpid()))

    def replaced() -> bool:
        with suppress(CommClosedError, OSError):
            found = set(workers.run(os.getpid).values())
            return len(found) == 2 and not found & first
        return False

    wait_for(replaced)
    assert workers_of(os.getpid()) >= set(workers.run(os.getpid).values())


def test_all_tasks_of_a_worker_use_one_client_of_the_prefect_api(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nothing is sent
    monkeypatch.setenv("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false")
    with open_local(place(1, 1, 2, ())) as cluster, Client(cluster, set_as_default=False) as client:
        request_workers(cluster, 1)

        def look() -> tuple[str, int]:
            from prefect.client.orchestration import get_client

            used = get_client(sync_client=True)
            return str(used.api_url), id(used)

        with WorkerMonitor(client, cluster, print).running():
            first, second = (client.submit(look, pure=False).result(timeout=120) for _ in range(2))
    assert first == second
    assert first[0].startswith("http://127.0.0.1:9/api")
