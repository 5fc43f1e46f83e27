"""Plugins of evolution and of environments: mutations, selectors and vector backends, and what they must not do."""

import json
import re
import sys
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from evo_core.config.parsing import ConfigError
from evo_core.config.plugin_fields import MissingPluginError, plugin_versions, require_plugins
from evo_core.config.run_config import RunConfig
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import check_environment
from evo_core.evolution.mutation import mutate
from evo_core.evolution.population import create_population, next_generation
from evo_core.export.found_config import found_config
from evo_core.genome.architecture import Layer
from evo_core.genome.genome import initial_genome
from evo_core.lineage.tree import Lineage
from evo_core.local import train_on_policy
from evo_core.plugins.loading import PluginError
from evo_core.records.chain import Generation, config_hash, record_hash
from evo_core.records.failures import MemberFailure
from evo_core.testing import MutationContract, SelectorContract, VectorBackendContract
from tests.conftest import make_config
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config
from tests.plugins import importable

HERE = __name__
EVERY_KIND = {
    "network.encoder.kind": "fourier",
    "mutation.plugins": {"resample": 1.0},
    "selection.method": "lexicase",
    "selection.options": {"epsilon": 0.5},
    "env.vectorization": "gym-sync",
    "evaluation.fitness": "steady",
}


class Deeper:
    """Adds a layer to the actor's head, and halves the latent vector."""

    def mutate(self, genome, config, rng):
        architecture, bounds = genome.architecture, config.network.bounds
        layers = (*architecture.actor_head, Layer(kind="residual", nodes=int(rng.integers(*bounds.nodes))))
        if len(layers) > bounds.layers[1]:
            return genome
        size = max(bounds.latent_dim[0], architecture.latent_dim // 2)
        grown = architecture.model_copy(update={"actor_head": layers, "latent_dim": size})
        return genome.model_copy(update={"architecture": grown})


class Everyone:
    """Gives each member as many children as the others."""

    def select(self, members, scores, count, rng):
        return np.arange(count) % len(members)


class NextStep:
    """Resets finished environments in the step after."""

    def make(self, env_id, seeds, kwargs):
        return SyncVectorEnv([partial(gym.make, env_id, **kwargs)] * len(seeds), autoreset_mode=AutoresetMode.NEXT_STEP)


class TestDeeper(MutationContract):
    plugin = Deeper
    overrides = {"network.bounds.layers": [1, 40]}


class TestEveryone(SelectorContract):
    plugin = Everyone


class TestNextStep(VectorBackendContract):
    plugin = NextStep
    env_id = "Acrobot-v1"
    kwargs = {"max_episode_steps": 90}


def use(monkeypatch, **methods):
    """Make a class with these methods the plugin `tests.evo_core.…:Broken`."""
    monkeypatch.setattr(sys.modules[HERE], "Broken", type("Broken", (), methods), raising=False)
    return f"{HERE}:Broken"


def changed(**update):
    return lambda self, genome, config, rng: genome.model_copy(update=update)


def of_architecture(**update):
    def mutate(self, genome, config, rng):
        return genome.model_copy(update={"architecture": genome.architecture.model_copy(update=update)})

    return mutate


def raises(*arguments):
    raise KeyError("oops")


BROKEN_MUTATIONS = {
    "raises": (raises, "KeyError: 'oops'"),
    "nothing": (lambda *arguments: None, "expected a Genome from mutate, got None"),
    "unknown activation": (changed(activation="Sine"), "its genome has activation 'Sine': Input should be 'ReLU'"),
    "gene outside": (changed(hyperparameters={"lr": 3.0}), r"lr: expected 0.0001 to 0.01 \(search.lr\), got 3.0"),
    "no gene": (changed(hyperparameters={}), r"expected the genes \['lr'\], got \[\]"),
    "NaN": (changed(hyperparameters={"lr": float("nan")}), "lr"),
    "large": (of_architecture(latent_dim=4096), r"latent_dim: expected 8 to 64 \(network.bounds\), got 4096"),
    "wide": (
        of_architecture(actor_head=(Layer(kind="dense", nodes=9999),)),
        r"nodes: expected 8 to 64 \(network.bounds\), got 9999",
    ),
    "empty": (of_architecture(critic_head=()), "critic_head: expected 1 to 3 layers"),
    "shared": (of_architecture(share_encoder=False), "expected an architecture of the same kinds"),
}


@pytest.mark.parametrize("name", BROKEN_MUTATIONS)
def test_a_mutation_that_makes_no_genome_of_its_run_is_named(name, monkeypatch):
    method, message = BROKEN_MUTATIONS[name]
    plugin = use(monkeypatch, mutate=method)
    config = make_config(search={"lr": {"min": 1e-4, "max": 1e-2, "scale": "log"}}, **only(plugin))
    genome = initial_genome(config, gym.make("CartPole-v1").observation_space)
    with pytest.raises(PluginError, match=rf"mutation {plugin} \(of no installed package\): .*{message}"):
        mutate(genome, config, np.random.default_rng(0))


def only(plugin):
    others = ("no_mutation", "architecture", "parameters", "activation", "rl_hp")
    return {**{f"mutation.{kind}": 0.0 for kind in others}, "mutation.plugins": {plugin: 2.0}}


def test_several_changes_of_one_mutation_are_recorded_by_name():
    config = make_config(**only(f"{HERE}:Deeper"))
    genome = initial_genome(config, gym.make("CartPole-v1").observation_space)
    _, mutation = mutate(genome, config, np.random.default_rng(0))
    assert mutation.kind == f"{HERE}:Deeper"
    assert mutation.what == "actor_head.layers, actor_head.nodes, latent_dim"
    assert mutation.before == {"actor_head.layers": 1, "actor_head.nodes": 16, "latent_dim": 16}
    assert mutation.after["actor_head.layers"] == 2 and mutation.after["latent_dim"] == 8


def test_a_mutation_of_weight_zero_changes_no_draw(plugins_installed):
    plain = make_lineage_config(5, 6)
    with_zero = make_lineage_config(5, 6, **{"mutation.plugins": {"resample": 0.0}})
    one, other = (make_commits(config, learns_by_lr_and_gamma) for config in (plain, with_zero))
    assert [commit.offspring for commit in one] == [commit.offspring for commit in other]


def test_the_order_of_plugins_in_the_file_changes_nothing(plugins_installed):
    weights = {"resample": 0.5, f"{HERE}:Deeper": 0.5}
    configs = [
        make_lineage_config(5, 6, **{"mutation.plugins": dict(order)})
        for order in (weights.items(), list(weights.items())[::-1])
    ]
    assert config_hash(configs[0]) == config_hash(configs[1])
    chains = [[record_hash(commit) for commit in make_commits(config, learns_by_lr_and_gamma)] for config in configs]
    assert chains[0] == chains[1]


def test_mutations_of_plugins_need_weights_and_names(plugins_installed):
    with pytest.raises(ConfigError, match=r"options: resample has no weight in mutation.plugins"):
        make_config(**{"mutation.options": {"resample": {"x": 1}}})
    with pytest.raises(ConfigError, match=r"mutation.plugins.rl_hp.*got 'rl_hp'|rl_hp"):
        make_config(**{"mutation.plugins": {"rl_hp": 1.0}})
    with pytest.raises(ConfigError, match="got 'resampel'; did you mean resample"):
        make_config(**{"mutation.plugins": {"resampel": 1.0}})
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        make_config(**{"mutation.plugins": {"resample": -1.0}})
    assert make_config(**only("resample")).mutation.plugins == {"resample": 2.0}


BROKEN_SELECTORS = {
    "raises": (raises, "KeyError: 'oops'"),
    "too few": (lambda self, members, scores, count, rng: [0], r"expected 2 indices from 0 to 2, got \[0\]"),
    "outside": (lambda self, members, scores, count, rng: [7] * count, r"expected 2 indices from 0 to 2, got \[7, 7\]"),
    "floats": (lambda self, members, scores, count, rng: [0.5] * count, "TypeError"),
    "nothing": (lambda *arguments: None, "TypeError"),
}


@pytest.mark.parametrize("name", BROKEN_SELECTORS)
def test_a_selector_that_chooses_no_members_is_named(name, monkeypatch):
    method, message = BROKEN_SELECTORS[name]
    plugin = use(monkeypatch, select=method)
    with pytest.raises(PluginError, match=rf"selector {plugin} \(of no installed package\): {message}"):
        make_commits(make_lineage_config(3, 1, **{"selection.method": plugin}), learns_by_lr_and_gamma)


def test_the_elite_keeps_its_place_beside_what_a_selector_chooses():
    commits = make_commits(
        make_lineage_config(4, 5, **{"selection.method": f"{HERE}:Everyone"}), learns_by_lr_and_gamma
    )
    for commit in commits[1:]:
        assert commit.draw.parents == (commit.draw.elite, 0, 1, 2)
        assert commit.offspring[0].mutation.kind == "none"


def test_a_selector_is_given_those_that_finished(monkeypatch):
    seen = []

    def select(self, members, scores, count, rng):
        seen.append((len(members), scores.tolist()))
        return [len(members) - 1] * count

    plugin = use(monkeypatch, select=select)
    config = make_lineage_config(4, 1, **{"selection.method": plugin, "selection.elitism": False})
    commit = make_commits(config, lambda child, parent, rng: None if child.index == 3 else float(child.index))[1]
    assert seen == [(3, [0.0, 1.0, 2.0])] and commit.draw.parents == (2, 2, 2, 2)


BROKEN_BACKENDS = {
    "raises": (raises, "KeyError"),
    "another number": (lambda self, env_id, seeds, kwargs: NextStep().make(env_id, [1], kwargs), "expected 2 environ"),
    "another environment": (
        lambda self, env_id, seeds, kwargs: NextStep().make("Acrobot-v1", seeds, kwargs),
        "leaf 'ob",
    ),
    "nothing": (lambda *arguments: None, "expected 2 environments from .*, got None"),
}


@pytest.mark.parametrize("name", BROKEN_BACKENDS)
def test_a_backend_that_does_not_fit_is_refused_before_a_run(name, monkeypatch):
    method, message = BROKEN_BACKENDS[name]
    plugin = use(monkeypatch, make=method)
    with pytest.raises(ConfigError, match=rf"env.vectorization {plugin} \(of no installed package\): .*{message}"):
        check_environment(make_config(**{"env.vectorization": plugin}), (HERE,))


def test_a_backend_of_a_plugin_takes_no_wrappers(plugins_installed):
    config = make_config(**{"env.vectorization": "gym-sync", "env.wrappers": ["NormalizeReward"]})
    with pytest.raises(ConfigError, match=r"env.vectorization gym-sync: env.wrappers work on single environments"):
        check_environment(config)


def test_the_example_steps_like_our_own(plugins_installed):
    configs = [make_config(**{"env.vectorization": name}) for name in ("sync", "gym-sync")]
    ours, theirs = (make_vect_envs(config.env, [5, 6]) for config in configs)
    for step in range(100):
        actions = np.array([step % 2, (step // 2) % 2])
        one, other = ours.step(actions), theirs.step(actions)
        assert np.array_equal(one.rewards, other.rewards) and np.array_equal(one.terminated, other.terminated)
        assert np.array_equal(ours.observations["observation"], theirs.observations["observation"])
    for envs in (ours, theirs):
        envs.close()
    with pytest.raises(MemberFailure, match="NameNotFound"):
        make_vect_envs(configs[1].env.model_copy(update={"id": "No-v0"}), [1])


def test_a_run_with_plugins_of_every_kind_repeats_and_records_them(plugins_installed):
    config = make_config(**EVERY_KIND)
    first, again = train_on_policy(config), train_on_policy(config)
    assert first.head == again.head
    assert "resample" in {child.mutation.kind for commit in first.commits for child in commit.offspring}
    names = ("fourier", "gym-sync", "lexicase", "resample", "steady")
    assert plugin_versions(config) == "; ".join(f"{name}: evolve-example 0.1.0" for name in names)
    commits = [Generation.model_validate_json(commit.model_dump_json()) for commit in first.commits]
    assert commits == list(first.commits)
    observed = gym.make("CartPole-v1").observation_space
    assert create_population(config, observed) == commits[0]
    assert next_generation(config, commits[0], commits[1].members) == commits[1]


def test_a_fitness_function_has_a_name(plugins_installed):
    config = make_config(**{"evaluation.fitness": "steady"})
    by_module = make_config(**{"evaluation.fitness": "evolve_example.fitness:steady"})
    one = train_on_policy(config)
    other = train_on_policy(by_module, packages=("evolve_example",))
    for first, second in zip(one.commits[1].members, other.commits[1].members, strict=True):
        assert first.fitness == second.fitness and first.fitness != np.mean(first.evaluation.returns)
    assert config.evaluation.objective.title == "mean steady"
    schema = RunConfig.model_json_schema()["$defs"]["EvaluationConfig"]["properties"]["fitness"]
    assert schema["description"].endswith("Installed: steady (evolve-example 0.1.0).")


def test_a_fitness_function_that_is_not_there_is_refused(plugins_installed):
    with pytest.raises(ConfigError, match=r"evaluation.fitness: expected return, .*steady, info:KEY or .*got 'stead'"):
        make_config(**{"evaluation.fitness": "stead"})
    with pytest.raises(ConfigError, match=r"evaluation.fitness: expected"):
        make_config(**{"evaluation.fitness": "flops"})  # which no episode changes
    stored = make_config(**{"evaluation.fitness": "steady"}).model_dump_json().replace('"steady"', '"elsewhere"')
    config = RunConfig.model_validate_json(stored)
    with pytest.raises(
        ConfigError, match=r"evaluation.fitness 'elsewhere': fitness function elsewhere is not installed"
    ):
        check_environment(config)


def test_a_fitness_function_of_a_further_objective_is_recorded_and_required(plugins_installed):
    steady = {"measure": "steady", "direction": "maximize"}
    config = make_config(**{"evaluation.objectives": [{"measure": "length", "direction": "minimize"}, steady]})
    assert plugin_versions(config) == "steady: evolve-example 0.1.0"
    require_plugins(config)
    stored = RunConfig.model_validate_json(config.model_dump_json().replace('"steady"', '"elsewhere"'))
    said = r"evaluation.objectives.1.measure 'elsewhere': fitness function elsewhere is not installed"
    with pytest.raises(MissingPluginError, match=said):
        require_plugins(stored)
    schema = RunConfig.model_json_schema()["$defs"]["Objective"]["properties"]["measure"]
    assert schema["description"].endswith("Installed: steady (evolve-example 0.1.0).")


def test_a_missing_selector_is_refused_by_name():
    stored = make_lineage_config(3, 1).model_dump_json().replace('"elitism"', '"method":"lexicase","elitism"')
    config = RunConfig.model_validate_json(stored)
    assert config.selection.method == "lexicase"
    missing = "selector lexicase is not installed here (installed: none)"
    with pytest.raises(ConfigError, match=re.escape(f"selection.method 'lexicase': {missing}")):
        check_environment(config)
    with pytest.raises(PluginError, match=re.escape(missing)):
        make_commits(config, learns_by_lr_and_gamma)


def test_what_a_run_with_plugins_found_is_a_configuration(example_plugin):
    with importable(example_plugin):
        config = make_config(**EVERY_KIND, **{"network.encoder.options": {"size": 8}})
        commits = train_on_policy(config).commits
        lineage = Lineage(commits)
        line = lineage.line(commits[-1].elite.uid)
    further = found_config(config, line, evolve=True).config  # also where the plugins are not installed
    observed = gym.make("CartPole-v1").observation_space
    assert initial_genome(further, observed).architecture == line[-1].offspring.genome.architecture
    for change in ({"name": "other"}, {"options": {"size": 9}}):
        given = json.loads(json.dumps(further.network.architecture))
        given["encoder"] |= change
        network = further.network.model_copy(update={"architecture": given})
        with pytest.raises(ValueError, match=r"network.architecture.encoder: expected fourier with options"):
            initial_genome(further.model_copy(update={"network": network}), observed)
    given = json.loads(json.dumps(further.network.architecture))
    given["encoder"]["layers"] = [{"kind": "dense", "nodes": 9999}]
    network = further.network.model_copy(update={"architecture": given})
    with pytest.raises(ValueError, match=r"encoder.layers.0.nodes: expected 8 to 64 .* got 9999"):
        initial_genome(further.model_copy(update={"network": network}), observed)
