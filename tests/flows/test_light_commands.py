"""Commands that only read, and rejections of invalid input, are fast: they import nothing that training needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_confirmations, store_lineage

HEAVY = ("torch", "prefect", "distributed", "optuna", "scipy", "sqlalchemy", "plotly", "s3fs")

LOOKING = (
    "--help",
    "--version",
    "run --help",
    "configs",
    "status",
    "status finished",
    "lineage finished",
    "lineage finished g0002/m01",
    "lineage diff finished g0001/m00 g0002/m01",
    "gc finished --dry-run",
    "members finished",
    "members finished --format csv",
)
"""Commands that succeed."""

WRONG = (
    "nosuch",
    *(f"{command} nowhere" for command in ("status", "lineage", "gc", "verify", "report", "replay", "evaluate")),
    *("members nowhere", "compare finished nowhere", "compare finished", "members finished --line g9999/m01"),
    *("replay finished --schedule s.json", "replay", "export finished --format config --member g9999/m01"),
    *("watch nowhere", "export nowhere", "delete nowhere", "resume nowhere", "lineage rebuild nowhere"),
    *("status --wrong", "doctor --wrong", "deploy --wrong", "serve --wrong", "run --wrong 3"),
    *("gc finished --keep-generations none", "evaluate finished --episodes 0", "watch finished --episodes none"),
    *("evaluate finished --member g9999/m01", "export finished --member g9999/m01", "watch finished --member third"),
    *("verify finished --recompute g9999/m01", "lineage finished g9999/m01", "lineage finished --format pdf"),
    *("resume finished --from-generation 99", "resume finished --extend 3", "resume finished --run-id other"),
    *("run --config nowhere.yaml", "run --config broken.yaml", "import-agilerl broken.yaml"),
    *("run --algorithm.lr 5", "run --algorithm.lr high", "run --algorithm.rl 1e-3"),
    *("run --env.id Nowhere-v0 --training.max-steps 100000", "doctor Nowhere-v0"),
    *(f"run --config cartpole {flag}" for flag in ("--env.kwargs {wrong:1}", "--env.wrappers [Wrong]")),
    *(
        f"run --config cartpole {flag}"
        for flag in ("--device gpu", "--workers 0", "--store ftp://x", "--study ftp://x")
    ),
    *(f"run --config cartpole {flag}" for flag in ("--engine x", "--engine x.Cluster", "--engine tls://x:8786")),
    *(f"run --config cartpole {flag}" for flag in ("--track x", "--member-memory 1", "--env-path x", "--run-id X")),
    "run --config cartpole --run-id finished",
    *("deploy", "deploy --limit none", "serve --port none", "serve --origin x", "serve --host 0.0.0.0 --no-auth"),
)
"""Commands with invalid input of every kind, which are refused."""

DAMAGED = ("verify finished",)
"""The run has no checkpoints."""

ONE_AFTER_THE_OTHER = """
import sys
import flows.cli.app
for words in sys.argv[1:]:
    code = flows.cli.app._main(words.split())
    heavy = sorted(sys.modules.keys() & {heavy!r})
    assert not heavy, f"evolve {{words}} imports {{heavy}}"
    assert code == {code}, f"evolve {{words}} ended with {{code}}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a finished run, and a broken configuration."""
    place = tmp_path_factory.mktemp("place")
    config = make_lineage_config(3, 2, **{"population.init": "identical"})  # founders on Sobol points take torch
    commits = make_commits(config, learns_by_lr_and_gamma)
    store_lineage((place / "runs").as_uri(), "finished", config, commits)
    store_confirmations((place / "runs").as_uri(), "finished", commits)
    (place / "broken.yaml").write_text("env: {id: CartPole-v1\ntraining: [")
    return place


@pytest.mark.parametrize(
    ("commands", "code"), [(LOOKING, 0), (WRONG, 2), (DAMAGED, 1)], ids=["looking", "wrong", "damaged"]
)
def test_light_commands_do_not_import_what_training_needs(commands, code, place):
    script = ONE_AFTER_THE_OTHER.format(heavy=set(HEAVY), code=code)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EVOLVE_", "PREFECT_"))}
    home = {"PREFECT_HOME": str(place / "prefect")}
    command = [sys.executable, "-c", script, *commands]
    ended = subprocess.run(command, cwd=place, env=environment | home, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
