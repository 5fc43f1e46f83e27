"""Runs started from Python: by a script's top level, in a running event loop, stopped, killed, refused and failed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

import evolve_rl
from evo_core.records.chain import record_hash
from tests.conftest import make_config
from tests.flows.conftest import alive, descendants
from tests.services import wait_for
from tests.spreading import undisturbed

CONFIG = make_config(**{"training.max_steps": 1536})
SCRIPT = """
import asyncio, json, sys
import evolve_rl

print("imported", flush=True)
config = json.loads(sys.argv[1])

async def main():
    asyncio.get_running_loop()
    return evolve_rl.run(config, store="runs", run_id="one", workers=1)

run = asyncio.run(main())
print(repr(run))
"""
LOGGED = """
import os, sys
with open(os.environ["STARTED"], "a") as file:
    file.write(" ".join(sys.orig_argv) + "\\n")
if "evolve_rl.run_process" in sys.orig_argv:
    import flows.engine.forkserver
    flows.engine.forkserver.START_METHOD = "spawn"
"""
BREAKS = """
import gymnasium, numpy

class Breaks(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return numpy.zeros(2, numpy.float32), {}

    def step(self, action):
        raise OSError("the simulator is off")

gymnasium.register("Breaks-v0", Breaks, max_episode_steps=20)
"""
OWN = """
import gymnasium, numpy

class Own(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return numpy.zeros(2, numpy.float32), {}

    def step(self, action):
        return numpy.zeros(2, numpy.float32), float(action), False, False, {}

gymnasium.register("Own-v0", Own, max_episode_steps=20)
"""


@pytest.fixture
def script(tmp_path, prefect_environment):
    """A function that starts the script in a directory, without a guard of its main module."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(config, **environment):
        return subprocess.Popen(
            [sys.executable, "script.py", json.dumps(config.model_dump(mode="json"))],
            cwd=tmp_path,
            env={**os.environ, **prefect_environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.slow
def test_a_script_without_a_guard_runs_in_an_event_loop_where_workers_are_spawned(script, tmp_path):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "sitecustomize.py").write_text(LOGGED)
    started = tmp_path / "started.txt"
    process = script(CONFIG, PYTHONPATH=str(tmp_path / "plugin"), STARTED=str(started))
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    commands = started.read_text().splitlines()
    assert any("multiprocessing.spawn" in command for command in commands)
    assert not any("forkserver" in command for command in commands)
    run = evolve_rl.open_run(tmp_path / "runs", "one")
    assert out.splitlines() == ["imported", repr(run)]
    assert record_hash(run.tree.commits[-1]) == undisturbed(CONFIG).head
    assert "generation   1/2" in err and "confirmed g0" in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_ends_with_the_program_that_started_it_and_can_be_continued(script, tmp_path, number):
    process = script(CONFIG)
    wait_for(lambda: list((tmp_path / "runs").rglob("*.train.json")), timeout_s=120)
    family = descendants(process.pid)
    assert any("evolve_rl.run_process" in psutil.Process(pid).cmdline() for pid in family)
    process.send_signal(number)
    err = process.communicate(timeout=200)[1]
    assert process.returncode != 0
    assert ("run(…, run_id='one') goes on" in err) == (number == signal.SIGINT)
    wait_for(lambda: not any(map(alive, family)), timeout_s=120)
    if number == signal.SIGKILL:
        return
    run = evolve_rl.run(CONFIG, store=tmp_path / "runs", run_id="one", workers=1, progress=False)
    assert record_hash(run.tree.commits[-1]) == undisturbed(CONFIG).head


@pytest.mark.slow
def test_a_failed_run_gives_the_reason_and_how_to_continue(tmp_path, prefect_environment, monkeypatch):
    for name, value in prefect_environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "off.py").write_text(BREAKS)
    config = make_config("off:Breaks-v0")
    with pytest.raises(evolve_rl.Failed, match=r"the simulator is off(.|\n)*run\(…, run_id='f'\) goes on"):
        evolve_rl.run(config, store=tmp_path, run_id="f", env_path=tmp_path, env_packages="off", progress=False)


@pytest.mark.slow
def test_the_returned_run_plays_an_environment_of_ones_own(tmp_path, prefect_environment, monkeypatch):
    for name, value in prefect_environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "launched_own.py").write_text(OWN)
    given = {"env_path": tmp_path, "env_packages": "launched_own", "device": "cpu", "workers": np.int64(1)}
    config = make_config("launched_own:Own-v0", **{"training.max_steps": 768})
    run = evolve_rl.run(config, store=tmp_path / "runs", run_id="own", progress=False, **given)
    actions, _ = run.agent().act([np.zeros(2, np.float32)])
    assert len(actions) == 1


def test_what_cannot_run_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(evolve_rl.ConfigError, match=r"algorithm\.lr: .*got 5"):
        evolve_rl.run("cartpole", overrides={"algorithm.lr": 5})
    with pytest.raises(evolve_rl.ConfigError, match=r"neither a file nor a ready configuration; did you mean cartpole"):
        evolve_rl.run("cartpol")
    with pytest.raises(evolve_rl.BadInput, match="wrkers: not an operational setting; did you mean workers"):
        evolve_rl.run("cartpole", wrkers=2)
    with pytest.raises(evolve_rl.BadInput, match=r"workers: expected text or a number, got \[2\]"):
        evolve_rl.run("cartpole", workers=[2])
    with pytest.raises(evolve_rl.BadInput, match="expected a RunConfig, a mapping, a YAML file or"):
        evolve_rl.run(3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_only_the_process_of_a_run_finds_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(evolve_rl.BadInput, match=r"^env\.id 'Nowhere-v0'"):
        evolve_rl.run({"env": {"id": "Nowhere-v0"}, "training": {"max_steps": 10**6}}, progress=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(evolve_rl.BadInput, match=r"^workers: expected a number from 1"):
        evolve_rl.run("cartpole", workers="many")
