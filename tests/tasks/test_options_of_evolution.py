"""Every option of evolution gives the same chain in any order, after kills, in forks, and after repairs."""

import random

import pytest

from evo_core.records.chain import record_hash
from tasks.generation_tasks import create_first_population
from tasks.runs import layout
from tasks.runs.fork import fork
from tasks.runs.recomputation import Recomputer
from tasks.runs.ref import RunRef
from tasks.runs.repair import Repair, repair_all
from tasks.runs.verification import verify
from tasks.store import store as base
from tasks.store.memory_backend import _stores
from tests.fake import SPACES, evolve, fake_config, fake_trainer, run_generation, run_member

OPTIONS = {
    "warm-up": {"selection.warm_up": 2},
    "archive": {"selection.archive": 2},
    "truncation": {"selection.method": "truncation", "selection.quantile": 0.5},
    "margin": {"selection.method": "truncation", "selection.margin": 1.0},
    "schedule": {"population.schedule": [7, 5]},
    "diverse": {"population.init": "diverse"},
    "adaptive": {"population.sizing": "adaptive", "population.patience": 1, "training.max_steps": 12 * 256},
    "linear": {"algorithm.lr_schedule": "linear"},
    "minimized": {"evaluation.direction": "minimize", "evaluation.fitness": "length"},
    "objectives": {
        "evaluation.objectives": [
            {"measure": "parameters", "direction": "minimize"},
            {"measure": "length", "direction": "maximize"},
        ],
        "selection.fitness_window": 2,
        "selection.archive": 2,
    },
    "all": {
        "selection.warm_up": 1,
        "selection.archive": 3,
        "selection.method": "truncation",
        "population.schedule": [6],
        "population.init": "diverse",
        "selection.fitness_window": 2,
    },
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(base, "PAUSE_S", 0.0)
    with fake_trainer():
        yield


def new_run(place, options):
    _stores.pop(f"memory://{place}", None)
    return RunRef(f"memory://{place}", "run", fake_config(6, **options), "cpu")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_order_kills_and_collected_checkpoints_change_nothing(options):
    head = record_hash(evolve(new_run("one", options)))
    killed = new_run("other", options)
    store = killed.open()
    store.store.prepare("")
    store.store.probe()
    store.create_run(killed.config)
    first = run_generation(killed, create_first_population.fn(killed, SPACES))
    for index in range(1, len(first.offspring), 2):  # the second generation dies halfway
        run_member(killed, 2, index)
    assert record_hash(evolve(killed, random.Random(3), keep_generations=1)) == head
    assert verify(killed.open(), SPACES).findings == []


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_lost_commit_is_selected_again_and_a_fork_goes_the_same_way(options):
    run = new_run("one", options)
    head, store = record_hash(evolve(run)), run.open()
    recomputer = Recomputer(store, run.config, SPACES)
    for generation in (0, 2):
        store.store.delete(store.key(layout.commit(generation)))
    result = verify(store, SPACES)
    assert len(result.findings) >= 2
    assert all(whole for _, _, whole in repair_all(Repair(store, result, recomputer)))
    assert verify(store, SPACES).findings == []
    assert record_hash(store.head()) == head
    copy = RunRef(run.store_url, "fork", run.config, "cpu")
    fork(store, copy.open(), 2, recomputer)
    assert record_hash(evolve(copy)) == head
    assert verify(copy.open(), SPACES).findings == []
