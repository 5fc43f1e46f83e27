"""The command line: bad input is refused in seconds, before anything is written; help and previews."""

import json
import os
import re
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.cli import app as cli
from flows.cli import doctor
from tests.conftest import make_config
from tests.flows.conftest import EVOLVE, ROOT, Cli

BAD_INPUT = [
    (("--algorithm.lrr", "3"), "algorithm.lrr: unknown key; did you mean lr"),
    (
        ("--algorithm.lr", "fast"),
        "algorithm.lr: expected a valid number, unable to parse string as a number, got 'fast'",
    ),
    (("--algorithm.lr", ".nan"), "algorithm.lr: expected a finite number, got nan"),
    (("--stroe", "x"), "Did you mean --store"),
    (("--env.id", "CartPol-v1"), "did you mean CartPole-v1"),
    (("--env.id", "os:system"), "package os is not allowed here"),
    (("--env.id", "Blackjack-v1"), "evaluation.max_steps: Blackjack-v1 has no time limit"),
    (("--search.lr", "{min: 1, max: 0.1}"), "search.lr: expected min < max"),
    (("--search.lr", "{min: 1"), "--search.lr: expected a YAML value"),
    (("--selection.tournament_size", "9"), "selection.tournament_size: expected at most population.size (3), got 9"),
    (("--config", "missing.yaml"), "missing.yaml: there is no such file"),
    (("--run-id", "Not Valid"), "run id 'Not Valid': expected 1 to 63"),
    (("--store", "ftp://host/x"), "expected a directory, or a URL that begins with file:// or s3://"),
    (("--store", "file://tmp/x"), "write file:///tmp/x, or tmp/x for a directory below this one"),
    (("--store", "file://tmp/x", "--dry-run"), "write file:///tmp/x, or tmp/x for a directory below this one"),
    (("--study", "sqlite://tmp/x"), "--study: expected sqlite:////path (absolute) or sqlite:///path (relative)"),
    (("--engine", "ray"), "--engine: expected local, a scheduler's address"),
    (("--engine", "tcp://far:8786"), "cannot reach this directory; use --store s3://"),
    (("--device", "cuda"), "--device cuda: torch finds no CUDA device here"),
    (("--device", "tpu"), "Choose from"),
    (
        ("--workers", "0"),
        "--workers: expected a number from 1, such as 4, or a range such as 1..4, at most 10000, got '0'",
    ),
    (("--member-deadline", "0"), "--member-deadline: expected above 0, at most 2592000, got 0"),
    (("--member-memory", "much"), "--member-memory: could not parse value and unit from byte string, got 'much'"),
    (("--keep-generations", "0"), "--keep-generations: "),
    (("--track", "excel"), "--track: expected names out of csv, tensorboard, wandb, mlflow"),
    (("--seed",), "--seed: expected a value after it"),
    (("--network.encoder.kind", "cnn"), "network.encoder.kind: cnn needs an image"),
]


@pytest.fixture
def bare(tmp_path):
    return Cli(tmp_path, {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": "http://127.0.0.1:9/api"})


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=[" ".join(arguments) for arguments, _ in BAD_INPUT])
def test_bad_input_is_refused_before_anything_is_written(bare, here, capfd, arguments, message):
    config = () if "--config" in arguments else ("--config", bare.config(make_config()))
    before = sorted(os.listdir(bare.directory))
    assert cli._main(["run", *config, *arguments]) == 2
    out, err = capfd.readouterr()
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
    assert sorted(os.listdir(bare.directory)) == before


def test_a_file_that_is_not_yaml_is_refused_with_the_place(bare):
    (bare.directory / "bad.yaml").write_text("env: {id: CartPole-v1\nseed: [")
    assert "bad.yaml: not YAML" in bare("run", "--config", "bad.yaml", expect=2).stderr
    (bare.directory / "list.yaml").write_text("- 1")
    assert "expected sections such as env:" in bare("run", "--config", "list.yaml", expect=2).stderr


def test_an_unknown_run_cannot_be_resumed(bare):
    assert "the store has no runs" in bare("resume", "nothing", expect=2).stderr


def test_an_unreachable_store_is_reported_in_one_line_with_advice(bare):
    bare.environment |= {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
    }
    failed = bare("status", "one", "--store", "s3://bucket/runs", expect=1)
    assert "check AWS_ENDPOINT_URL_S3" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_version_is_the_one_that_is_installed(capsys):
    assert cli._main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("evolve-rl") != "0.0.0"


def test_help_answers_at_once_and_names_every_command():
    subprocess.run([EVOLVE, "--help"], check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out = subprocess.run([EVOLVE, "--help"], check=True, capture_output=True, text=True).stdout
    took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert took < 2  # CPU seconds, far above the 0.2 that it takes; importing torch and prefect takes four
    for command in ("run", "resume", "status", "doctor"):
        assert command in out


def test_the_help_of_run_lists_every_configuration_flag(bare):
    out = bare("run", "--help").stdout
    for flag in ("--algorithm.lr", "--network.encoder.hidden_size", "--training.max_steps", "--seed", "--run-id"):
        assert flag in out
    assert "TOTAL training steps of the whole population" in " ".join(out.split())


def test_a_dry_run_shows_configuration_and_networks_and_writes_nothing(bare):
    path = bare.config(make_config())
    preview = bare.json("run", "--config", path, "--dry-run", "--algorithm.lr", "5e-4", "--seed=7")
    assert preview["config"]["algorithm"]["lr"] == 5e-4
    assert preview["config"]["seed"] == 7
    assert preview["config"]["algorithm"]["gamma"] == 0.99
    assert preview["parameters"]["total"] == 4 * 16 + 16 + 16 * 16 + 16 + 2 * (16 * 16 + 16) + 16 * 2 + 2 + 16 + 1
    assert preview["generations"] == 3
    assert preview["store"] == (bare.directory / "runs").as_uri()
    assert preview["study"] == f"sqlite:///{bare.directory}/runs/study.db"
    assert "http://127.0.0.1:9/api" in preview["prefect"]
    elsewhere = ("--store", "s3://bucket/x/", "--study", "postgresql://me:secret-word@host/optuna")
    preview = bare.json("run", "--config", path, "--dry-run", *elsewhere)
    assert (preview["store"], preview["study"]) == ("s3://bucket/x", "postgresql://me:***@host/optuna")
    assert sorted(os.listdir(bare.directory)) == ["config.yaml"]
    assert "encoder:" in bare("run", "--config", path, "--dry-run").stdout


def test_doctor_shows_where_the_packages_are(bare):
    (bare.directory / "flows").mkdir()
    checks = {check["name"]: check for check in bare.json("doctor", expect=1)}
    assert checks["package flows"]["finding"] == str(ROOT / "flows")
    assert "start the server, or unset PREFECT_API_URL" in checks["Prefect API"]["advice"]
    assert checks["package tasks"]["advice"] == ""
    assert checks["torch"]["finding"]


def test_doctor_passes_on_a_complete_installation(bare):
    del bare.environment["PREFECT_API_URL"]
    assert all(check["advice"] == "" for check in json.loads(bare("doctor", "--json").stdout))


@pytest.fixture
def examined(here, monkeypatch, capfd):
    """Examine an environment in this process, briefly and without a worker's process, which takes 4 CPU seconds."""
    monkeypatch.setattr(doctor, "_worker", lambda *_: doctor.Check("in a worker", "not tried"))
    monkeypatch.setattr(doctor, "MEASURED_S", 0.1)

    def examine(env_id=None, path=None, expect=0):
        capfd.readouterr()
        assert doctor.doctor(env_id, config=path, json=True) == expect
        return {check["name"]: check for check in json.loads(capfd.readouterr().out)}

    return examine


def test_doctor_examines_an_environment(examined, capfd):
    checks = examined("CartPole-v1")
    assert checks["deterministic under a seed"]["finding"] == "yes, over 1,000 random steps"
    assert "Discrete(2)" in checks["action space"]["finding"]
    assert checks["encoder"]["finding"] == "observation: mlp"
    assert checks["actions"]["finding"] == "Categorical"
    assert checks["parameters"]["finding"] == f"{4 * 64 + 64 + 3 * (64 * 64 + 64) + 64 * 2 + 2 + 64 + 1:,}"
    assert checks["Gymnasium's checker"]["finding"].startswith("passed")
    assert re.match(r"[\d,]{5,} steps/s on one core, 16 environments", checks["speed"]["finding"])
    checks = examined("Probe/Unseeded-v0", expect=1)
    assert "self.np_random" in checks["deterministic under a seed"]["advice"]
    assert "fix the environment" in checks["Gymnasium's checker"]["advice"]
    checks = examined("Probe/Wrong-v0", expect=1)
    assert "leaf 'a': expected shape (2,), got (3,)" in checks["1,000 random steps"]["finding"]
    assert cli._main(["doctor", "CartPol-v1"]) == 2
    assert "did you mean CartPole-v1" in capfd.readouterr().err


def test_doctor_shows_the_networks_of_a_configuration_file(examined, bare):
    overrides = {"env.wrappers": [{"FilterObservation": {"filter_keys": ["image"]}}], "algorithm.recurrent": True}
    path = bare.config(make_config("minigrid:MiniGrid-Empty-5x5-v0", **overrides, **{"evaluation.max_steps": 50}))
    checks = examined(path=Path(path), expect=1)
    assert checks["encoder"]["finding"] == "image: recurrent"
    assert [name for name, check in checks.items() if check["advice"]] == ["time limit"]


def test_a_remote_scheduler_needs_a_prefect_server_that_it_can_reach(bare):
    del bare.environment["PREFECT_API_URL"]
    arguments = ("--engine", "tcp://far:8786", "--store", "s3://bucket/runs")
    refused = bare("run", "--config", bare.config(make_config()), *arguments, expect=2)
    assert "set PREFECT_API_URL to a shared one" in refused.stderr


def test_doctor_takes_the_flags_of_a_run_and_tries_an_environment_where_members_run(bare):
    bare.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    flags = ("--env.id", "Probe/Far-v0", "--algorithm.action_std_init=0.5", "--workers", "1", "--store", "elsewhere")
    checks = {check["name"]: check for check in bare.json("doctor", *flags)}
    assert "its bounds are 10 and 20" in checks["notice"]["finding"]
    assert checks["in a worker"]["finding"] == "made and stepped in a main thread of a worker's process"
    assert checks["wrappers"]["finding"] == "none carries state from episode to episode"
    kwargs = json.dumps({"log": str(bare.directory / "processes")})
    parent = ("--env.id", "Probe/Parent-v0", "--env.kwargs", kwargs, "--env.num_envs", "1")
    wrapped = ("--env.wrappers", "[NormalizeReward]", "--engine", "tcp://localhost:1")
    checks = {check["name"]: check for check in bare.json("doctor", *parent, *wrapped, expect=1)}
    assert "set algorithm.normalize_returns: true" in checks["wrappers"]["finding"]
    said = checks["in a worker"]["finding"]
    assert said.startswith("in a thread of a worker's process: ConfigError: ")
    assert "signal only works in main thread" in said
    assert "unknown key" in bare("doctor", "--env.idd", "CartPole-v1", expect=2).stderr


def test_a_module_is_imported_only_if_its_package_is_allowed(bare):
    package = bare.directory / "canary_envs"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path; import gymnasium as gym; Path('imported').touch()\n"
        "gym.register('Mine-v0', entry_point='gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=20)\n"
    )
    bare.environment["PYTHONPATH"] = f"{ROOT}:{bare.directory}"
    arguments = ("--dry-run", "--env.id", "canary_envs:Mine-v0")
    path = bare.config(make_config())
    for command in (("run", "--config", path, *arguments), ("doctor", "canary_envs:Mine-v0")):
        refused = bare(*command, expect=2)
        assert "package canary_envs is not allowed here (allowed: minigrid)" in refused.stderr
    assert not (bare.directory / "imported").exists()
    bare.environment["EVOLVE_ENV_PACKAGES"] = "minigrid, canary_envs"
    assert "4," in bare.json("run", "--config", path, *arguments)["observation_space"]
    assert (bare.directory / "imported").exists()


ENDING = """
import atexit
import flows.cli.app as cli

class Late:
    def __del__(self):
        print("torn down")

def command(tokens):
    cli.late = Late()
    atexit.register(print, "handled")
    print("said", end=" ")
    return 3

cli._main = command
cli.main()
"""


def test_a_command_ends_with_its_output_and_exit_handlers_but_without_tearing_python_down():
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("said handled\n", "", 3)
