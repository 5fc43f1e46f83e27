"""A module that is not allowed is never imported, whichever parameter names it."""

import copy
import sys

import gymnasium
import pytest
from prefect.utilities.callables import parameter_schema

from deployments import entrypoints
from evo_core.config.parsing import ConfigError, parse_config
from evo_core.envs.inspection import inspect_environment
from flows.cli.app import BAD_INPUT, _main
from tests.conftest import make_config

MARK = "CANARY_MODULE_MARK"
MODULE = f"""
import os, pathlib
pathlib.Path(os.environ[{MARK!r}]).write_text("imported")
import gymnasium
class Env(gymnasium.Env): pass
class Wrapper(gymnasium.Wrapper): pass
gymnasium.register("Canary-v0", Env)
"""
CONFIG = make_config().model_dump(mode="json")
FLOWS = ("evolve", "resume", "evaluate", "gc")


def strings(value, path=()):
    """Yield the path of every string below a value."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from strings(inner, (*path, key))


def put(path, value):
    config = copy.deepcopy(CONFIG)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Return the path of the file that the module writes when it is imported."""
    (tmp_path / "canary_mod.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    yield tmp_path / "mark"
    sys.modules.pop("canary_mod", None)
    gymnasium.registry.pop("Canary-v0", None)


def begin(config):
    """Run all checks of a run before it writes anything."""
    inspect_environment(parse_config(config, {}), ("minigrid",))


def test_a_module_that_is_allowed_is_imported(mark):
    with pytest.raises(ConfigError, match="not registered"):
        inspect_environment(parse_config(put(("env", "id"), "canary_mod:Nothing-v0"), {}), ("canary_mod",))
    assert mark.exists()


@pytest.mark.parametrize("name", ["canary_mod:Canary-v0", "canary_mod.Env", "canary_mod:Env", "canary_mod"])
@pytest.mark.parametrize("path", list(strings(CONFIG)), ids=".".join)
def test_no_string_of_a_configuration_imports_a_module(mark, path, name):
    with pytest.raises(ConfigError) as refused:
        begin(put(path, name))
    assert ".".join(path) in str(refused.value) and name in str(refused.value)
    assert not mark.exists() and "canary_mod" not in sys.modules


@pytest.mark.parametrize(
    ("wrappers", "advice"),
    [
        (["canary_mod:Wrapper"], "EVOLVE_ENV_PACKAGES=canary_mod"),
        ([{"canary_mod:Wrapper": {}}], "EVOLVE_ENV_PACKAGES=canary_mod"),
        (["canary_mod.Wrapper"], "no wrapper"),
        (["minigrid.wrappers:canary_mod:Wrapper"], "expected a name, or package.module:Name"),
        (["minigridx:Wrapper"], "package minigridx is not allowed here"),
        (["..canary_mod:Wrapper"], "expected a name, or package.module:Name"),
    ],
)
def test_wrappers_import_nothing_either(mark, wrappers, advice):
    with pytest.raises(ConfigError) as refused:
        begin(put(("env", "wrappers"), wrappers))
    assert advice in str(refused.value)
    assert not mark.exists() and "canary_mod" not in sys.modules


FORMS = {name: (getattr(entrypoints, name), parameter_schema(getattr(entrypoints, name))) for name in FLOWS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, (_, schema) in FORMS.items() for field in schema.properties]
)
def test_no_parameter_of_a_form_imports_a_module(mark, name, field, monkeypatch, prefect_url):
    monkeypatch.setenv("EVOLVE_STORE", str(mark.parent / "runs"))
    monkeypatch.setattr(entrypoints, "guard", lambda: None)  # a guardian would wait for the end of this process
    flow, schema = FORMS[name]
    filled = dict.fromkeys(schema.required or (), "some-run")
    for value in ("canary_mod:Canary-v0", ["canary_mod:Canary-v0"], {"env": {"wrappers": ["canary_mod:Wrapper"]}}):
        ended = flow(**filled | {field: value}, return_state=True)
        assert ended.is_failed() and "COMMIT" not in str(ended.message)
        assert not mark.exists() and "canary_mod" not in sys.modules


@pytest.mark.parametrize("argument", ["render_mode", "entry_point", "env_id", "id", "canary_mod:Env", "spec"])
def test_keyword_arguments_are_values_not_names(mark, argument):
    with pytest.raises(ConfigError):
        begin(put(("env", "kwargs"), {argument: "canary_mod:Canary-v0"}))
    assert not mark.exists() and "canary_mod" not in sys.modules


@pytest.mark.parametrize("name", ["GymV21Environment-v0", "GymV26Environment-v0"])
def test_environments_that_would_import_another_by_name_are_refused(mark, name):
    config = put(("env", "id"), name)
    config["env"]["kwargs"] = {"env_id": "canary_mod:Canary-v0"}
    with pytest.raises(ConfigError, match="creates environments of old versions by name"):
        begin(config)
    assert not mark.exists() and "canary_mod" not in sys.modules


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--env.id", "canary_mod:Canary-v0", "--training.max-steps", "100000"),
        ("run", "--env.id", "canary_mod:Canary-v0", "--training.max-steps", "100000", "--dry-run"),
        ("doctor", "canary_mod:Canary-v0"),
    ],
    ids=" ".join,
)
def test_commands_refuse_with_advice_and_write_nothing(mark, command, capsys, monkeypatch):
    monkeypatch.chdir(mark.parent)
    before = sorted(mark.parent.iterdir())
    assert _main(list(command)) == BAD_INPUT
    assert "EVOLVE_ENV_PACKAGES=canary_mod" in capsys.readouterr().err
    assert sorted(mark.parent.iterdir()) == before
