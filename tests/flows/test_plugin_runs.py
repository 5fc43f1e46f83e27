"""Plugins of an installed package through the whole pipeline: workers, a kill, resume, verification, export."""

import json
import os
import signal
import subprocess
import sys

import pytest

from flows.cli.app import _main
from tests.conftest import make_config
from tests.flows.conftest import Cli, descendants, kill_all
from tests.plugins import EXAMPLE, importable
from tests.services import wait_for
from tests.spreading import undisturbed

pytestmark = pytest.mark.slow

EVERY_KIND = {
    "network.encoder.kind": "fourier",
    "network.encoder.options": {"size": 8},
    "mutation.plugins": {"resample": 1.0},
    "selection.method": "lexicase",
    "env.vectorization": "gym-sync",
    "evaluation.fitness": "steady",
    "training.evo_steps": 2048,
}


@pytest.fixture
def kept(example_plugin, tmp_path, prefect_environment):
    """A command line in whose environment the example is installed."""
    installed = {"PYTHONPATH": str(example_plugin), "EVOLVE_EXAMPLE_LINES": str(tmp_path / "lines.jsonl")}
    return Cli(tmp_path, {**prefect_environment, **installed}, fresh=True)


def test_a_run_with_plugins_is_killed_resumed_extended_verified_and_exported(
    kept, example_plugin, tmp_path, monkeypatch, capsys
):
    with importable(example_plugin):
        config = make_config(**EVERY_KIND, **{"training.max_steps": 2 * 3 * 2048})
        longer = make_config(**EVERY_KIND, **{"training.max_steps": 3 * 3 * 2048})
        oracle = undisturbed(longer)
        path = kept.config(config)
    process = kept.start("run", "--config", path, "--run-id", "p", "--workers", "2", "--track", "csv,lines")
    wait_for(lambda: list((tmp_path / "runs").rglob("*.train.json")), timeout_s=240)
    everyone = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kill_all(everyone)

    resumed = kept.json("resume", "p", "--extend", str(3 * 3 * 2048), "--workers", "2", "--track", "csv,lines")
    assert resumed["head"] == oracle.head
    lines = [json.loads(line)["generation"] for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3]
    claim = json.loads((tmp_path / "runs/tracking/lines/p/evolve.json").read_text())
    assert claim["package"] == "evolve-example 0.1.0"
    record = json.loads(next((tmp_path / "runs/p/gen/000002/m").glob("0001.json")).read_text())
    assert "fourier: evolve-example 0.1.0" in record["numerics"]["plugins"]

    monkeypatch.chdir(tmp_path)
    with importable(example_plugin):
        for words in (
            ("verify", "p"),
            ("verify", "p", "--recompute", "g0003/m01"),
            ("report", "p"),
            *(("export", "p", "--format", each) for each in ("onnx", "torchscript", "safetensors")),
        ):
            assert _main([*words]) == 0, capsys.readouterr()
    refuses_without_the_plugin(capsys)


def refuses_without_the_plugin(capsys):
    """What reads records works; what needs a plugin names the package."""
    for words in (("status", "p"), ("lineage", "p"), ("report", "p")):
        assert _main([*words]) == 0
    capsys.readouterr()
    advice = "the run was made with evolve-example 0.1.0: pip install 'evolve-example==0.1.0'"
    needing = {
        ("verify", "p"): "selection.method 'lexicase'",
        ("verify", "p", "--recompute", "g0003/m01"): "network.encoder.kind 'fourier'",
        ("resume", "p", "--extend", "99999999"): "network.encoder.kind 'fourier'",
        ("evaluate", "p", "--episodes", "2"): "network.encoder.kind 'fourier'",
        ("export", "p", "--format", "torchscript"): "network.encoder.kind 'fourier'",
    }
    for words, use in needing.items():
        assert _main([*words]) == 2, words
        said = " ".join(capsys.readouterr().err.split())
        assert use in said and "is not installed here" in said and advice in said, words


def test_the_examples_own_tests_pass(example_plugin, tmp_path):
    """They are those that its author runs."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    environment = {**os.environ, "PYTHONPATH": str(example_plugin)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "27 passed" in done.stdout
