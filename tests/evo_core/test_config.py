"""Invalid configurations: refused in one line with field, value and what is allowed."""

import math

import pytest
from pydantic import BaseModel

from evo_core.config.parsing import ConfigError, config_differences, parse_config
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.envs.inspection import inspect_environment
from evo_core.envs.notices import notices
from tests.conftest import make_config

BAD = [
    ({"algorithm.lrr": 3}, "algorithm.lrr: unknown key; did you mean lr"),
    ({"algoritm.lr": 3}, "algoritm: unknown key; did you mean algorithm"),
    ({"network.encoder.hidden_sizes": [16]}, "network.encoder.hidden_sizes: unknown key; did you mean hidden_size"),
    ({"algorithm.lr": -1}, "algorithm.lr: expected greater than 0, got -1"),
    ({"algorithm.lr": math.nan}, "algorithm.lr: expected a finite number, got nan"),
    ({"training.target": math.inf}, "training.target: expected a finite number, got inf"),
    ({"search.lr": {"min": 1e-2, "max": 1e-4, "scale": "log"}}, "search.lr: expected min < max"),
    ({"search.ent_coef": {"min": 0, "max": 1, "scale": "log"}}, "search.ent_coef: a log scale needs min > 0"),
    ({"search.gamma": {"min": 0.9, "max": 1, "scale": "log1m"}}, "search.gamma: a log1m scale needs max < 1"),
    ({"search.lr": {"min": 2e-3, "max": 1e-2}}, "algorithm.lr: the initial value 0.001 lies outside"),
    ({"search.target_kl": {"min": 0.01, "max": 0.1}}, "algorithm.target_kl: the initial value None lies outside"),
    ({"algorithm.lr_schedule": "kl"}, "search.lr: with algorithm.lr_schedule: kl the rate follows"),
    ({"search.desired_kl": {"min": 0.001, "max": 0.1}}, "search.desired_kl: it has an effect only with"),
    ({"algorithm.lr_schedule": "cosine"}, "lr_schedule: expected 'constant', 'linear' or 'kl', got 'cosine'"),
    ({"search.gama": {"min": 0.9, "max": 0.99}}, "search.gama: not a hyperparameter that can evolve"),
    ({"search.action_std_init": {"min": 0.1, "max": 1}}, "search.action_std_init: not a hyperparameter"),
    ({"search.gamma": {"min": 0.9, "max": 1.5}}, "search.gamma: .* got 1.5"),
    ({"search.batch_size": {"min": 15.5, "max": 128}}, "search.batch_size: expected whole numbers"),
    ({"selection.tournament_size": 4}, r"tournament_size: expected at most population.size \(3\), got 4"),
    ({"selection.quantile": 0.6}, "selection.quantile: expected less than or equal to 0.5, got 0.6"),
    ({"selection.margin": -0.5}, "selection.margin: expected greater than or equal to 0, got -0.5"),
    ({"selection.warm_up": -1}, "selection.warm_up: expected greater than or equal to 0, got -1"),
    (
        {"selection.method": "truncate"},
        "selection.method: expected 'tournament', 'truncation' or .*did you mean truncation",
    ),
    ({"selection.archive": 4}, r"selection.archive: expected at most population.size \(3\), got 4"),
    ({"population.schedule": [4, 6]}, r"schedule: expected sizes that do not increase, .* \(3\), got \[4, 6\]"),
    ({"population.schedule": [2]}, r"schedule: expected sizes that do not increase, down to population.size \(3\)"),
    ({"population.schedule": [12]}, r"at least one generation, population.schedule\[0\] × .* = 3072, got 2304"),
    ({"population.min_survivors": 4}, r"min_survivors: expected at most population.size \(3\), got 4"),
    ({"population.init": "diverse", "search": {}}, "population.init: diverse draws from `search`, which is empty"),
    ({f"mutation.{k}": 0 for k in ("no_mutation", "architecture", "parameters", "activation", "rl_hp")}, "are zero"),
    ({"algorithm.batch_size": 129, "search": {}}, "batch_size: expected at most the initial rollout of 128 steps"),
    ({"training.evo_steps": 258}, r"evo_steps: expected a multiple of env.num_envs \(4\), got 258; use 256 or 260"),
    ({"training.max_steps": 700}, "max_steps: expected at least one generation, .* = 768, got 700"),
    ({"search.learn_step": {"min": 3, "max": 512}}, r"learn_step and its range: expected at least"),
    ({"mutation.parameters": 1e300}, "mutation.parameters: expected less than or equal to"),
    ({"search.lr": {"min": 0.001, "max": 0.0010000000000000002, "scale": "log"}}, "are the same number on a log scale"),
    (
        {"algorithm.learn_step": 3, "search": {}, "algorithm.batch_size": 1},
        r"learn_step and its range: expected at least env.num_envs",
    ),
    ({"network.encoder.kernel_size": [3, 4]}, "network.encoder.kernel_size.1: expected an odd number.*got 4"),
    ({"network.encoder.stride_size": [1]}, "network.encoder: channel_size, .*one entry each.* got 2, 2 and 1"),
    ({"network.encoder.kind": "cmm"}, "network.encoder.kind: expected 'auto', 'mlp', 'simba', 'cnn'.*got 'cmm'"),
    ({"network.encoder.max_seq_len": 0}, "network.encoder.max_seq_len: expected greater than or equal to 1"),
    ({"env.wrappers": [{"A": {}, "B": {}}]}, "env.wrappers.0"),
    ({"env.step_timeout": 0}, "env.step_timeout: expected greater than 0"),
    ({"network.latent_dim": 7}, r"latent_dim: expected 8 to 64 \(network.bounds\), got 7"),
    ({"network.bounds.nodes": [64, 8]}, r"nodes: expected \[least, most\], got \[64, 8\]"),
    ({"env.num_envs.x": 1}, "env.num_envs.x: env.num_envs is a value, not a section"),
    (
        {"env.vectorization": "asinc"},
        "env.vectorization: expected 'auto', 'sync', 'async', 'native', 'envpool' or .*; did you mean async?",
    ),
    ({"seed": -1}, "seed: expected greater than or equal to 0, got -1"),
    ({"training": {}}, "training.max_steps: required, but missing; give a configuration file, or --training.max_steps"),
]

BAD_ENVIRONMENTS = [
    ("CartPol-v1", "not registered; did you mean CartPole-v1"),
    ("LunarLander-v2", "LunarLander"),
    ("os:system", "package os is not allowed here .allowed: none., so it was not imported"),
    ("some_package.envs:Env-v0", "EVOLVE_ENV_PACKAGES=some_package"),
    ("Probe/TextSpace-v0", "observation space Text.* not supported .leaf 'mission'.; supported: Box, Discrete, Mul"),
    ("Probe/NoElements-v0", "observation space Box.* has no elements; remove it"),
    ("Probe/TextActions-v0", "action space Text.* is not supported; supported: Discrete, MultiDiscrete, MultiBinary"),
    ("Probe/NoLimit-v0", "evaluation.max_steps: Probe/NoLimit-v0 has no time limit of its own"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[",".join(overrides) for overrides, _ in BAD])
def test_a_bad_configuration_is_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**overrides)


@pytest.mark.parametrize(("env_id", "message"), BAD_ENVIRONMENTS)
def test_a_bad_environment_is_refused_by_name(env_id, message):
    with pytest.raises(ConfigError, match=message):
        inspect_environment(make_config(env_id))


def test_wrong_environment_arguments_are_refused():
    with pytest.raises(ConfigError, match=r"env.kwargs .*colour"):
        inspect_environment(make_config(**{"env.kwargs": {"colour": "red"}}))
    with pytest.raises(ConfigError, match=r"env.kwargs .*max_episode_steps"):
        inspect_environment(make_config(**{"env.kwargs": {"max_episode_steps": 0}}))
    with pytest.raises(ConfigError, match=r"env.kwargs .*zz"):
        inspect_environment(make_config("FrozenLake-v1", **{"env.kwargs": {"map_name": "zz"}}))


def test_all_problems_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        make_config(**{"algorithm.lr": -1, "algorithm.gamma": 2, "seed": "x"})
    assert len(caught.value.problems) == 3


def test_an_environment_without_time_limit_runs_once_evaluation_is_bounded():
    assert inspect_environment(make_config("Probe/NoLimit-v0", **{"evaluation.max_steps": 9})).time_limit is None


def test_generations_shorter_than_an_episode_are_noticed():
    config = make_config()
    assert "fewer than the time limit of 500" in notices(config, inspect_environment(config))[0]
    long = make_config(**{"training.evo_steps": 2000, "training.max_steps": 6000})
    assert notices(long, inspect_environment(long)) == []


def test_every_number_of_ppo_but_the_initial_deviation_may_evolve():
    assert set(evolvable_hyperparameters()) == {
        "lr",
        "desired_kl",
        "batch_size",
        "learn_step",
        "update_epochs",
        "gamma",
        "gae_lambda",
        "clip_coef",
        "ent_coef",
        "vf_coef",
        "max_grad_norm",
        "target_kl",
    }


def test_the_configuration_of_the_design_is_accepted_as_it_stands():
    text = """
    env:        {id: LunarLander-v3, num_envs: 16, kwargs: {}, wrappers: [], vectorization: auto}
    algorithm:  {name: PPO, lr: 1.0e-3, batch_size: 256, learn_step: 2048, update_epochs: 10, gamma: 0.99,
                 gae_lambda: 0.98, clip_coef: 0.2, clip_value: false, ent_coef: 0.01, vf_coef: 0.5, max_grad_norm: 0.5,
                 target_kl: null, action_std_init: 0.6, normalize_observations: false, normalize_returns: false,
                 recurrent: false}
    network:    {latent_dim: 64, share_encoder: true, squash_output: false,
                 encoder: {hidden_size: [64], activation: ReLU}, head: {hidden_size: [64]},
                 bounds: {layers: [1, 3], nodes: [16, 512], latent_dim: [16, 256]}}
    search:
      lr:            {min: 1.0e-4, max: 1.0e-2, scale: log}
      batch_size:    {min: 32, max: 1024, scale: log}
      learn_step:    {min: 512, max: 8192, scale: log}
    population: {size: 6, init: identical, min_survivors: null}
    training:   {max_steps: 1_500_000, evo_steps: 16_384, target: 200}
    evaluation: {episodes: 8, max_steps: null, deterministic: true}
    selection:  {tournament_size: 2, elitism: true, fitness_window: 1}
    mutation:   {no_mutation: 0.4, architecture: 0.2, new_layer_prob: 0.2, parameters: 0.2, activation: 0.0, rl_hp: 0.2,
                 mutation_sd: 0.1}
    seed: 1
    """
    import yaml

    config = parse_config(yaml.safe_load(text))
    assert config.max_generations == 15
    assert config.line_steps == 15 * 16_384
    defaults = parse_config({"env": {"id": "LunarLander-v3"}, "training": {"max_steps": 1_500_000, "target": 200}})
    assert config_differences(defaults, config) == [
        "search.batch_size.max: absent in the store, 1024.0 given",
        "search.batch_size.min: absent in the store, 32.0 given",
        "search.batch_size.scale: absent in the store, log given",
        "search.batch_size.step: absent in the store, 0.1 given",
        "search.learn_step.max: absent in the store, 8192.0 given",
        "search.learn_step.min: absent in the store, 512.0 given",
        "search.learn_step.scale: absent in the store, log given",
        "search.learn_step.step: absent in the store, 0.1 given",
        "search.lr.max: absent in the store, 0.01 given",
        "search.lr.min: absent in the store, 0.0001 given",
        "search.lr.scale: absent in the store, log given",
        "search.lr.step: absent in the store, 0.1 given",
    ]


def test_every_field_has_a_description():
    def undescribed(model: type[BaseModel], prefix=""):
        for name, field in model.model_fields.items():
            if not field.description:
                yield prefix + name
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from undescribed(field.annotation, f"{prefix}{name}.")

    assert list(undescribed(RunConfig)) == []
    assert (
        "TOTAL training steps of the whole population"
        in RunConfig.model_json_schema()["$defs"]["TrainingConfig"]["properties"]["max_steps"]["description"]
    )


def test_scientific_notation_is_a_number_wherever_yaml_takes_it_for_a_word():
    config = make_config(**{"training.max_steps": "1e6", "algorithm.lr": "3e-4", "env.kwargs": {"word": "1e6"}})
    assert (config.training.max_steps, config.algorithm.lr) == (1_000_000, 3e-4)
    assert config.env.kwargs == {"word": "1e6"}
    with pytest.raises(ConfigError, match=r"expected a list such as \[64, 64\], got 64"):
        make_config(**{"network.encoder.hidden_size": 64})


def test_a_configuration_survives_json():
    config = make_config()
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
