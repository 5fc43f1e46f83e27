"""evolve import-agilerl: it writes configurations that run, and nothing else."""

import gymnasium as gym
import pytest
import yaml

from flows.cli.app import _main
from flows.cli.flags import load_config
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


def test_a_manifest_becomes_a_runnable_file_with_notes_on_changes(bare):
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
    assert set(result) == {"config", "dropped", "changed", "unchecked"}
    assert result["unchecked"] == []
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
        (RECURRENT.replace("name: CartPole-v1", "name: CartPole-v1, config: {colour: red}"), "colour"),
        ("INIT_HP: [", "bad.yaml: not YAML"),
        ("- 1", "expected sections such as algorithm: or INIT_HP:, got [1]"),
    ],
)
def test_a_configuration_that_cannot_run_here_is_refused_before_anything_is_written(tmp_path, capsys, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    assert _main(["import-agilerl", str(tmp_path / "bad.yaml"), "--output", str(tmp_path / "ours.yaml")]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("LunarLanderContinous-v3", "not registered; did you mean LunarLander"),
        ("Nowhere/Pong-v5", "unchecked env.id 'Nowhere/Pong-v5': not registered; try it with `evolve doctor` where"),
        ("os:system", "package os is not allowed here"),
    ],
)
def test_an_environment_that_is_not_installed_here_is_unchecked(tmp_path, capsys, env_id, message):
    (tmp_path / "ppo.yaml").write_text(UPPER.replace("LunarLanderContinuous-v3", env_id))
    assert _main(["import-agilerl", str(tmp_path / "ppo.yaml")]) == 0
    said = capsys.readouterr()
    assert message in said.err
    assert message in said.out, "the file says it too"
    assert yaml.safe_load(said.out)["env"]["id"] == env_id


def test_an_environment_whose_package_is_missing_is_unchecked(tmp_path, capsys, monkeypatch):
    def missing(**kwargs):
        raise gym.error.DependencyNotInstalled("its simulator is not installed")

    monkeypatch.setitem(gym.registry, "Simulated-v0", gym.envs.registration.EnvSpec("Simulated-v0", missing))
    (tmp_path / "ppo.yaml").write_text(UPPER.replace("LunarLanderContinuous-v3", "Simulated-v0"))
    assert _main(["import-agilerl", str(tmp_path / "ppo.yaml")]) == 0
    assert "DependencyNotInstalled: its simulator is not installed; try it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "INIT_HP = " + "[" * 5000,
        "INIT_HP = " + "-" * 90_000 + "1",
        "INIT_HP = {[1]: 2}",
        "INIT_HP = {'LR': " + "9" * 5000 + "}",
        "INIT_HP = {'ENV_NAME': 'CartPole-v1', 'MAX_STEPS': " + "9" * 400 + "}",
        "INIT_HP = {'ENV_NAME': 'CartPole-v1', 'POP_SIZE': 1e300}",
        "INIT_HP = {'ENV_NAME': 'CartPole-v1', 'ACTION_STD_INIT': 1e4}",
        "#" * 200_000,
    ],
    ids=["deep", "signs", "a list as a key", "digits", "a large number", "a large float", "an exponent", "long"],
)
def test_a_hostile_python_file_is_refused(tmp_path, capsys, text):
    (tmp_path / "train.py").write_text(text)
    assert _main(["import-agilerl", str(tmp_path / "train.py")]) == 2
    assert len(capsys.readouterr().err) < 600


def test_no_file_is_overwritten(tmp_path, capsys):
    (tmp_path / "ppo.yaml").write_text(RECURRENT)
    assert _main(["import-agilerl", str(tmp_path / "ppo.yaml"), "--output", str(tmp_path / "ppo.yaml")]) == 2
    assert "this file exists already" in capsys.readouterr().err
    assert (tmp_path / "ppo.yaml").read_text() == RECURRENT
