"""Plugins: found by their entry points, checked before anything is written, and recorded with their packages."""

import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from torch import nn

from evo_core.agent.agent import Agent, initial_state
from evo_core.agent.checkpoint import CheckpointError, from_bytes, load_agent, to_bytes, to_portable_bytes
from evo_core.config.parsing import ConfigError
from evo_core.config.plugin_fields import MissingPluginError, plugin_versions, require_plugins
from evo_core.config.run_config import RunConfig
from evo_core.envs.inspection import check_environment, inspect_environment
from evo_core.genome.encoders import CnnArchitecture, MlpArchitecture, MultiInputArchitecture, PluginArchitecture
from evo_core.genome.genome import Genome, initial_genome
from evo_core.local import train_on_policy
from evo_core.networks.encoders.plugin_checks import require_sound
from evo_core.numerics.provenance import numerics
from evo_core.plugins.installed import describe_offers, forget_offers, package_of
from evo_core.plugins.kinds import ENCODER, PLUGIN_KINDS, TRACKER
from evo_core.plugins.loading import PluginError, load
from evo_core.records.chain import record_hash
from evo_core.spaces.observations import Leaf
from evo_core.spaces.spaces import Spaces
from evo_core.testing import EncoderContract
from tests.conftest import make_config
from tests.plugins import importable

HERE = __name__
FOURIER = {"network.encoder.kind": "fourier", "network.encoder.options": {"size": 8}}


@pytest.fixture
def package(tmp_path, request):
    """Make packages with entry points, as pip lays them out."""

    def make(name, version="1.0", **groups):
        place = tmp_path / f"{name}-{version}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        sections = (f"[evolve.{group}]\n{lines}\n" for group, lines in groups.items())
        (place / "entry_points.txt").write_text("\n".join(sections))
        forget_offers()

    with importable(tmp_path):
        yield make


class Tanh:
    """Encodes whatever it is given by one layer and a scalar."""

    def __init__(self, size=8):
        self.size = size

    def features(self, shape):
        return nn.Sequential(nn.Flatten(), Scale(), nn.Linear(int(np.prod(shape)), self.size), nn.Tanh())


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("offset", torch.rand(1))

    def forward(self, x):
        return x * self.by + self.offset


class Fixed:
    """Has nothing to learn."""

    def features(self, shape):
        return nn.Flatten()


class TestTanh(EncoderContract):
    plugin = Tanh
    options = {"size": 5}
    shapes = ((4,), (3, 9, 10))


class TestFixed(EncoderContract):
    plugin = Fixed


def broken(module):
    """An encoder whose module this is."""
    return type("Broken", (), {"features": lambda self, shape: module(), "__module__": HERE})


class ByNumpy:
    def features(self, shape):
        linear = nn.Linear(*shape, 3)
        linear.weight.data = torch.from_numpy(np.random.default_rng().standard_normal((3, *shape), np.float32))
        return linear


class OtherRows(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class NotFinite(nn.Module):
    def forward(self, x):
        return x.log()


class ListOutput(nn.Module):
    def forward(self, x):
        return [x]


UNSOUND = {
    "numpy": (ByNumpy, "made twice it differs; draw from torch's global generator alone"),
    "rows": (broken(OtherRows), "a row depend on the other rows; compute every row by itself"),
    "dropout": (broken(nn.Dropout), "called twice it gives other features"),
    "batch normalization": (broken(lambda: nn.BatchNorm1d(4)), "changes its buffers when it is called.*nn.LayerNorm"),
    "not finite": (broken(NotFinite), "not finite"),
    "list": (broken(ListOutput), r"expected float32 \[2, features\] from inputs \[2, 4\], got \[tensor"),
    "no module": (broken(lambda: 3), "expected a torch.nn.Module from features, got 3"),
    "wrong size": (broken(lambda: nn.Linear(7, 3)), r"for inputs \[2, 4\]: RuntimeError: mat1 and mat2"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_encoder_is_refused_before_a_run(name, monkeypatch):
    plugin, message = UNSOUND[name]
    monkeypatch.setattr(sys.modules[HERE], "Unsound", plugin, raising=False)
    with pytest.raises(ConfigError, match=rf"(?s)network.encoder.kind: .*{message}"):
        check_environment(make_config(**{"network.encoder.kind": f"{HERE}:Unsound"}), (HERE,))


def test_what_is_installed_is_found_with_its_package(plugins_installed):
    assert describe_offers(ENCODER) == "fourier (evolve-example 0.1.0)"
    assert describe_offers(TRACKER) == "lines (evolve-example 0.1.0)"
    assert load(ENCODER, "fourier", {"size": 3}).size == 3
    kind = RunConfig.model_json_schema()["$defs"]["EncoderConfig"]["properties"]["kind"]
    assert kind["anyOf"][0]["enum"] == ["auto", "mlp", "simba", "cnn", "fourier"]


def test_every_kind_of_the_example_is_offered(plugins_installed):
    for kind in PLUGIN_KINDS:
        assert "evolve-example 0.1.0" in describe_offers(kind), kind.noun


def test_nothing_of_a_package_is_imported_before_it_is_used(example_plugin):
    script = (
        "import sys; from flows.cli.app import _main; _main(['run', '--help'])\n"
        "from evo_core.config.parsing import parse_config\n"
        "parse_config({'env': {'id': 'CartPole-v1'}, 'training': {'max_steps': 10**6}}, "
        "{'network.encoder.kind': 'fourier'})\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'evolve_example', 'torch', 'prefect'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(example_plugin)}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    shown = " ".join(done.stdout.split())
    assert "encoder fourier (evolve-example 0.1.0)" in shown and "tracker lines (evolve-example 0.1.0)" in shown


def test_a_run_with_a_plugin_repeats_and_records_it(plugins_installed):
    config = make_config(**FOURIER, **{"mutation.architecture": 5.0})
    first, again = train_on_policy(config), train_on_policy(config)
    assert first.head == again.head
    children = [child for commit in first.commits for child in commit.offspring]
    assert any((child.mutation.what or "").startswith("encoder") for child in children)
    encoder = children[0].genome.architecture.encoder
    assert encoder == PluginArchitecture(name="fourier", options={"size": 8}, layers=encoder.layers)
    assert plugin_versions(config) == "fourier: evolve-example 0.1.0"
    assert numerics("cpu", config)["plugins"] == "fourier: evolve-example 0.1.0"
    assert "plugins" not in numerics("cpu", make_config())


def test_records_are_read_and_mutated_where_the_plugin_is_not_installed(example_plugin):
    with importable(example_plugin):
        config = make_config(**FOURIER)
        text = config.model_dump_json()
        result = train_on_policy(config)
    assert RunConfig.model_validate_json(text) == config
    commit = type(result.commits[0]).model_validate_json(result.commits[-1].model_dump_json())
    assert record_hash(commit) == result.head
    with pytest.raises(CheckpointError, match="its network cannot be built: encoder fourier is not installed here"):
        from_bytes(result.checkpoint, result.spaces)
    assert inspect_environment(config, plugins=False).spaces.action == result.spaces.action


def test_a_missing_plugin_is_named_with_the_package_of_its_run(example_plugin):
    with importable(example_plugin):
        config = make_config(**FOURIER)
        recorded = numerics("cpu", config)["plugins"]
    with pytest.raises(
        MissingPluginError, match=r"network.encoder.kind 'fourier': encoder fourier is not inst"
    ) as caught:
        check_environment(config)
    advice = str(caught.value.with_versions(recorded))
    assert "the run was made with evolve-example 0.1.0: pip install 'evolve-example==0.1.0'" in advice
    assert str(caught.value.with_versions("")) == str(caught.value)


NAMES = [
    ("fouriex", "expected 'auto', 'mlp', 'simba', 'cnn', 'fourier' or .*got 'fouriex'; did you mean fourier?"),
    ("Fourier", "did you mean fourier?"),
    ("a:b:c", "or package.module:Name, got 'a:b:c'"),
    ("x" * 256, "at most 255 characters"),
    (3, "expected a valid string, got 3"),
]


@pytest.mark.parametrize(("name", "message"), NAMES, ids=[str(name)[:8] for name, _ in NAMES])
def test_a_wrong_name_is_refused_as_the_configuration_is_read(name, message, plugins_installed):
    with pytest.raises(ConfigError, match=message):
        make_config(**{"network.encoder.kind": name})


def test_options_belong_to_plugins():
    with pytest.raises(ConfigError, match="options: only a plugin's encoder has them, and kind is mlp; remove them"):
        make_config(**{"network.encoder.kind": "mlp", "network.encoder.options": {"size": 3}})
    with pytest.raises(ConfigError, match="leaves: only a plugin's"):
        make_config(**{"network.encoder.leaves": ["observation"]})


def test_options_are_taken_as_they_are(plugins_installed):
    config = make_config(**{"network.encoder.kind": "fourier", "network.encoder.options": {"size": "1e3"}})
    assert config.network.encoder.options == {"size": "1e3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sise": 3}, r"encoder fourier \(evolve-example 0.1.0\) with options {'sise': 3}: TypeError: .*sise"),
        ({"size": -3}, "RuntimeError|ValueError"),
    ],
)
def test_wrong_options_are_refused(options, message, plugins_installed):
    config = make_config(**{"network.encoder.kind": "fourier", "network.encoder.options": options})
    with pytest.raises(ConfigError, match=rf"network.encoder.kind.*{message}"):
        check_environment(config)


def test_only_allowed_modules_are_imported(tmp_path, monkeypatch):
    (tmp_path / "untrusted_plugins.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = make_config(**{"network.encoder.kind": "untrusted_plugins:Encoder"})
    with pytest.raises(
        ConfigError, match=r"untrusted_plugins is not allowed here.*EVOLVE_ENV_PACKAGES=untrusted_plugins"
    ):
        check_environment(config)
    with pytest.raises(ConfigError, match="importing untrusted_plugins: SystemExit: imported"):
        check_environment(config, ("untrusted_plugins",))
    with pytest.raises(ConfigError, match="No module named 'nosuch'; nosuch is neither installed, nor"):
        check_environment(make_config(**{"network.encoder.kind": "nosuch:Encoder"}), ("nosuch",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:system", "expected a class with a method features, got <built-in function system>"),
        ("os:nothing", "os has no nothing"),
        (
            "never_imported.module:Encoder",
            r"never_imported.module was not imported.*EVOLVE_ENV_PACKAGES=never_imported",
        ),
        (f"{HERE}:UNSOUND", "expected a class with a method features"),
    ],
)
def test_names_in_files_import_nothing(name, message):
    with pytest.raises(PluginError, match=rf"encoder {name}.*{message}"):
        load(ENCODER, name)
    assert "never_imported" not in sys.modules


def test_an_agent_is_loaded_where_its_module_was_imported():
    config = make_config(**{"network.encoder.kind": f"{HERE}:Tanh"})
    spaces = inspect_environment(config, (HERE,)).spaces
    genome = initial_genome(config, spaces.observation)
    agent = Agent(initial_state(genome, spaces, 1.0, np.random.default_rng(0)), spaces)
    loaded = load_agent(to_portable_bytes(agent, {}))
    rows = [spaces.observation.sample() for _ in range(3)]
    assert list(loaded.act(rows)[0]) == list(agent.act(rows)[0])
    content = to_bytes(agent.state())
    elsewhere = content.replace(f"{HERE}:Tanh".encode(), f"{'x' * len(HERE)}:Tanh".encode())
    assert elsewhere != content
    with pytest.raises(CheckpointError, match=r"its network cannot be built: .*was not imported"):
        from_bytes(elsewhere, spaces)


def test_names_that_cannot_be_used_say_why(package):
    package("one", encoders=f"twice = {HERE}:Tanh\nmlp = {HERE}:Tanh\nBig = {HERE}:Tanh\nagreed = {HERE}:Tanh")
    package("two", encoders=f"twice = {HERE}:Fixed\nagreed = {HERE}:Tanh\nbroken = nosuch_module:X")
    assert describe_offers(ENCODER) in ("agreed (one 1.0), broken (two 1.0)", "agreed (two 1.0), broken (two 1.0)")
    reasons = {
        "twice": "encoder twice: one 1.0 and two 1.0 offer different ones; uninstall all but one",
        "Big": "one 1.0 offers it, but expected a lower-case letter",
    }
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=re.escape(reason)):
            make_config(**{"network.encoder.kind": name})
        with pytest.raises(PluginError, match=re.escape(reason)):
            load(ENCODER, name)
    assert make_config(**{"network.encoder.kind": "mlp"}).network.encoder.kind == "mlp"
    with pytest.raises(
        ConfigError, match=r"encoder broken \(two 1.0\): importing nosuch_module:X: ModuleNotFoundError"
    ):
        require_plugins(make_config(**{"network.encoder.kind": "broken"}))


def test_a_plugin_encodes_the_leaves_that_are_named():
    space = Dict({"camera": Box(0, 255, (9, 9, 3), np.uint8), "joints": Box(-1, 1, (4,)), "goal": Discrete(5)})
    config = make_config(**{"network.encoder.kind": f"{HERE}:Tanh", "network.encoder.leaves": ["joints"]})
    encoder = initial_genome(config, space).architecture.encoder
    assert isinstance(encoder, MultiInputArchitecture)
    kinds = {name: type(part) for name, part in encoder.parts.items()}
    assert kinds == {"camera": CnnArchitecture, "joints": PluginArchitecture, "goal": MlpArchitecture}
    everything = initial_genome(make_config(**{"network.encoder.kind": f"{HERE}:Tanh"}), space)
    assert {type(part) for part in everything.architecture.encoder.parts.values()} == {PluginArchitecture}
    Agent(
        initial_state(everything, Spaces(space, Discrete(2)), 1.0, np.random.default_rng(0)), Spaces(space, Discrete(2))
    )
    unknown = make_config(**{"network.encoder.kind": f"{HERE}:Tanh", "network.encoder.leaves": ["arm"]})
    with pytest.raises(ValueError, match="the observation has no 'arm'; it has camera, goal, joints"):
        initial_genome(unknown, space)


def test_a_plugin_encodes_the_steps_of_a_recurrent_policy():
    config = make_config(
        **{"network.encoder.kind": f"{HERE}:Tanh", "algorithm.recurrent": True, "network.bounds.units": [8, 64]},
        **{"network.encoder.hidden_state_size": 16, "training.max_steps": 768},
    )
    result = train_on_policy(config, packages=(HERE,))
    assert result.head == train_on_policy(config, packages=(HERE,)).head
    genome = result.agent().genome
    assert Genome.model_validate_json(genome.model_dump_json()) == genome


def test_the_version_of_a_module_is_that_of_its_package():
    assert package_of(ENCODER, "pytest.mine:Encoder") == f"pytest {metadata.version('pytest')}"
    assert package_of(ENCODER, f"{HERE}:Tanh") is None
    assert package_of(ENCODER, "nosuch") is None


def test_shapes_that_a_plugin_does_not_encode_are_refused(plugins_installed):
    leaf = Leaf((), Box(-1, 1, (3, 9, 10)))
    architecture = PluginArchitecture(name="fourier", options={}, layers=())
    with pytest.raises(PluginError, match=r"encoder fourier .*expected vectors, got images of shape \(3, 9, 10\)"):
        require_sound(architecture, leaf)
