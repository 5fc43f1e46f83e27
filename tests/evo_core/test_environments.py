"""Environments and wrappers by name: lookup, refusals, and that nothing is imported before a refusal."""

import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml

from evo_core.config.parsing import ConfigError, parse_config
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import check_environment, inspect_environment
from evo_core.envs.making import make_env
from evo_core.envs.notices import notices
from evo_core.envs.tmaze import EAST, NORTH, SOUTH, WEST, TMaze
from tests.conftest import make_config
from tests.services import missing

CONFIGS = Path(__file__).parents[2] / "deployments" / "configs"
PACKAGE = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv
print("imported")
gym.register("Mine-v0", entry_point=CartPoleEnv, max_episode_steps=20)
class Half(gym.RewardWrapper):
    def reward(self, reward):
        return reward / 2
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "canary_envs").mkdir()
    (tmp_path / "canary_envs" / "__init__.py").touch()
    (tmp_path / "canary_envs" / "mine.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "canary_envs.mine"
    for name in [name for name in sys.modules if name.startswith("canary_envs")]:
        del sys.modules[name]
    gym.registry.pop("Mine-v0", None)


@pytest.mark.parametrize("packages", [("canary_envs",), ("canary_envs.mine",), ("other", "canary_envs")])
def test_an_allowed_package_brings_its_environments_and_wrappers(package, packages):
    config = make_config(f"{package}:Mine-v0", **{"env.wrappers": [f"{package}:Half"]})
    assert inspect_environment(config, packages).time_limit == 20
    env = make_env(config.env)
    env.reset(seed=0)
    assert env.step(0)[1] == 0.5


@pytest.mark.parametrize("packages", [(), ("canary",), ("canary_envs.mine.deeper",), ("mine",)])
@pytest.mark.parametrize("field", ["id", "wrappers"])
def test_another_package_is_refused_before_it_is_imported(package, packages, field):
    overrides = {"env.wrappers": [{f"{package}:Half": {}}]} if field == "wrappers" else {}
    config = make_config(f"{package}:Mine-v0" if field == "id" else "CartPole-v1", **overrides)
    with pytest.raises(ConfigError, match=r"canary_envs is not allowed here .* EVOLVE_ENV_PACKAGES=canary_envs"):
        inspect_environment(config, packages)
    assert not [name for name in sys.modules if name.startswith("canary")]


@pytest.mark.parametrize("env_id", ["os.path\n:x", "../evil:X-v0", "a b:X-v0", ":X-v0", "x;y:Z-v0", "a:b:C-v0"])
def test_invalid_module_names_are_refused(env_id):
    with pytest.raises(ConfigError, match=r"expected a name, or package.module:Name|not allowed here"):
        inspect_environment(make_config(env_id), ("os",))


def test_errors_name_a_module_that_fails_to_import_and_an_id_that_it_does_not_register(package, tmp_path):
    (tmp_path / "canary_envs" / "broken.py").write_text("raise RuntimeError('no display')")
    with pytest.raises(ConfigError, match=r"importing canary_envs\.broken: RuntimeError: no display"):
        inspect_environment(make_config("canary_envs.broken:X-v0"), ("canary_envs",))
    with pytest.raises(ConfigError, match=r"not registered; did you mean canary_envs.mine:Mine-v0"):
        inspect_environment(make_config(f"{package}:Mime-v0"), ("canary_envs",))
    with pytest.raises(ConfigError, match=r"did you mean canary_envs.mine:Half"):
        inspect_environment(make_config("CartPole-v1", **{"env.wrappers": [f"{package}:Halv"]}), ("canary_envs",))
    with pytest.raises(ConfigError, match=r"`canary_envs.mine:LunarLander-v3`"):
        inspect_environment(make_config(f"{package}:LunarLander-v1"), ("canary_envs",))


def test_a_missing_module_error_says_where_modules_are_searched(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        inspect_environment(make_config("mygame.envs:Game-v0"), ("mygame",))
    said = str(refused.value)
    assert "No module named 'mygame'" in said
    for place in (str(tmp_path), "PYTHONPATH", "pip install", "--env-path", "EVOLVE_ENV_PATH", "configuration file"):
        assert place in said
    (tmp_path / "canary_envs" / "needy.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ConfigError, match=r"No module named 'nowhere_to_be_found'; install what canary_envs.needy nee"):
        inspect_environment(make_config("canary_envs.needy:X-v0"), ("canary_envs",))


def test_a_directory_of_packages_is_searched_by_commands_and_by_workers(tmp_path, monkeypatch):
    from flows.cli.session import read_settings
    from flows.runs import open_run
    from flows.settings import BadInput

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_the_file.py").write_text(PACKAGE.replace("Mine-v0", "Beside-v0"))
    config = make_config("beside_the_file:Beside-v0")
    settings = read_settings({"env_path": str(tmp_path), "env_packages": "beside_the_file"})
    assert sys.path[-1] == str(tmp_path)  # behind everything else: it replaces nothing
    run = open_run(settings, config, "run")
    sys.path.remove(str(tmp_path))  # as in a worker
    assert run.environment().time_limit == 20
    assert sys.path.count(str(tmp_path)) == 1
    with pytest.raises(BadInput, match=r"--env-path: expected directories, .*nowhere is none"):
        read_settings({"env_path": f"{tmp_path}:{tmp_path / 'nowhere'}"})


class _Masked(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(2)

    def __init__(self, told=False):
        self.told = told

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {"action_mask": self.action_masks()} if self.told else {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def action_masks(self):
        return np.ones(2, np.int8)


def test_a_notice_is_given_for_action_masks_that_are_not_read():
    gym.register("Masked-v0", entry_point=_Masked, max_episode_steps=5)
    try:
        for told in (False, True):
            config = make_config("Masked-v0", **{"env.kwargs": {"told": told}})
            said = "\n".join(notices(config, inspect_environment(config)))
            assert ('info["action_mask"]' in said) is not told
    finally:
        del gym.registry["Masked-v0"]


def test_wrappers_apply_innermost_first_with_their_arguments():
    wrappers = [{"HideObservation": {"indices": [1, 3]}}, {"FrameStackObservation": {"stack_size": 3}}, "ClipReward"]
    config = make_config(**{"env.wrappers": wrappers[:2]})
    assert inspect_environment(config).spaces.observation.shape == (3, 2)
    env = make_env(config.env)
    plain = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=3)
    np.testing.assert_array_equal(observation[-1], plain.reset(seed=3)[0][[0, 2]])


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        ("FrameStackObservatio", "no wrapper 'FrameStackObservatio'; did you mean FrameStackObservation"),
        ("os", "no wrapper 'os'"),
        ("JaxToNumpyV0", "no wrapper 'JaxToNumpyV0'"),
        ("Wrapper2", "no wrapper 'Wrapper2'"),
        ({"FrameStackObservation": {"stack": 3}}, "FrameStackObservation.*stack"),
        ({"HideObservation": {"indices": [9]}}, "expected indices from 0 to 3, got .9."),
        ("HideObservation", "indices"),
    ],
)
def test_a_wrong_wrapper_is_refused(wrapper, message):
    with pytest.raises(ConfigError, match=message):
        inspect_environment(make_config(**{"env.wrappers": [wrapper]}))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_t_maze_pays_for_the_turn_that_the_sign_said(sign):
    env = gym.make("evolve/TMaze-v0", length=3)
    seed = next(s for s in range(50) if env.reset(seed=s)[0][0] == sign)
    assert env.reset(seed=seed)[0].tolist() == [sign, 1, 0]
    assert env.step(WEST)[:2][1] == pytest.approx(-0.1)
    observations = [env.step(EAST) for _ in range(3)]
    assert [o[0].tolist() for o in observations] == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert env.step(EAST)[1] == pytest.approx(-0.1)
    _, reward, terminated, _, _ = env.step(NORTH if sign > 0 else SOUTH)
    assert (reward, terminated) == (4.0, True)
    with pytest.raises(ValueError, match="expected at least 1"):
        TMaze(0)


def test_our_environments_are_registered_where_ours_is_imported():
    code = "import evo_core.envs, gymnasium; print(gymnasium.spec('evolve/TMaze-v0').id)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_ready_configurations_fit_their_environments(path):
    config = parse_config(yaml.safe_load(path.read_text()))
    package = "mujoco" if path.stem == "halfcheetah" else config.env.id.partition(":")[0]
    if package in ("mujoco", "minigrid") and find_spec(package) is None:
        missing(f"needs {package}: make extras")
    assert not notices(config, inspect_environment(config, ("minigrid",)))
    assert config.training.target is not None


class _Loud(_Masked):
    def reset(self, *, seed=None, options=None):
        warnings.warn("this simulator is old", UserWarning, stacklevel=2)
        return np.full(1, 2.0, np.float32), {}


def test_inspecting_an_environment_suppresses_warnings_that_members_repeat(caplog):
    gym.register("Loud-v0", entry_point=_Loud, max_episode_steps=5)
    try:
        config = make_config("Loud-v0")
        notices(config, check_environment(config))  # warnings are errors here
        assert "outside the bounds" not in caplog.text
        with pytest.warns(UserWarning, match="old"):
            make_vect_envs(config.env, [1]).close()
        assert "outside the bounds" in caplog.text
    finally:
        del gym.registry["Loud-v0"]
