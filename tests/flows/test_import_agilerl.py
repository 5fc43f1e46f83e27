"""evolve import-agilerl: files in, a configuration that runs out, and nothing written that would not."""

import pytest
import yaml

from flows.cli import _main
from flows.flags import load_config
from tests.evo_core.test_agilerl import RECURRENT, UPPER
from tests.flows.conftest import Cli

PYTHON = """
from agilerl.algorithms.core.registry import HyperparameterConfig, RLParameter
if __name__ == "__main__":
    INIT_HP = {"ENV_NAME": "Blackjack-v1", "ALGO": "PPO", "POP_SIZE": 2, "NUM_ENVS": 4, "MAX_STEPS": 10_000}
    MUT_P = {"NO_MUT": 0.5, "RL_HP_MUT": 0.5}
    hp_config = HyperparameterConfig(
        lr=RLParameter(min=1e-4, max=1e-2), batch_size=RLParameter(min=8, max=64, dtype=int)
    )
    raise SystemExit("this file is read, not run")
"""


@pytest.fixture
def bare(tmp_path):
    return Cli(tmp_path, {"PREFECT_HOME": str(tmp_path / "prefect")})


def test_a_manifest_becomes_a_file_that_says_what_changed_and_can_be_run(bare):
    (bare.directory / "ppo.yaml").write_text(RECURRENT)
    done = bare("import-agilerl", "ppo.yaml", "--output", "ours.yaml")
    text = (bare.directory / "ours.yaml").read_text()
    assert text.startswith("# Converted from ppo.yaml by `evolve import-agilerl`.\n# dropped ")
    for line in done.stderr.strip().splitlines():
        assert f"# {line}" in text
    assert "dropped algorithm.use_rollout_buffer: True (there is one kind of rollout here)" in done.stderr
    assert "training.max_steps: 600000 -> training.max_steps: 1200000" in done.stderr
    assert load_config(bare.directory / "ours.yaml", {}).training.max_steps == 1_200_000
    assert "parameters:" in bare("run", "--config", "ours.yaml", "--dry-run").stdout


def test_json_holds_configuration_and_notes(bare):
    (bare.directory / "ppo.yaml").write_text(UPPER)
    result = bare.json("import-agilerl", "ppo.yaml")
    assert set(result) == {"config", "dropped", "changed"}
    assert result["config"]["training"]["max_steps"] == 8_000_000
    assert {
        "field": "INIT_HP.WANDB",
        "value": True,
        "why": "trackers are named by `evolve run --track wandb`",
    } in result["dropped"]
    assert {note["becomes"] for note in result["changed"]} >= {"training.max_steps", "evaluation.episodes"}


def test_dictionaries_of_a_python_file_are_read_and_never_run(tmp_path, capsys):
    (tmp_path / "train.py").write_text(PYTHON)
    assert _main(["import-agilerl", str(tmp_path / "train.py")]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["training"]["max_steps"] == 20_000
    assert config["search"]["batch_size"] == {"min": 8, "max": 64, "scale": "log"}
    assert config["evaluation"]["max_steps"] == 1000  # Blackjack has no limit of its own
    assert config["mutation"] == {"no_mutation": 0.5, "rl_hp": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UPPER.replace("ALGO: PPO", "ALGO: TD3"), "TD3 is off-policy"),
        (UPPER.replace("LunarLanderContinuous-v3", "LunarLanderContinous-v3"), "did you mean LunarLander"),
        (UPPER.replace("LunarLanderContinuous-v3", "os:system"), "package os is not allowed here"),
        ("INIT_HP: [", "bad.yaml: not YAML"),
        ("- 1", "expected sections such as algorithm: or INIT_HP:, got [1]"),
    ],
)
def test_what_cannot_run_here_is_refused_before_anything_is_written(tmp_path, capsys, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    assert _main(["import-agilerl", str(tmp_path / "bad.yaml"), "--output", str(tmp_path / "ours.yaml")]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_no_file_is_overwritten(tmp_path, capsys):
    (tmp_path / "ppo.yaml").write_text(RECURRENT)
    assert _main(["import-agilerl", str(tmp_path / "ppo.yaml"), "--output", str(tmp_path / "ppo.yaml")]) == 2
    assert "there is such a file already" in capsys.readouterr().err
    assert (tmp_path / "ppo.yaml").read_text() == RECURRENT
