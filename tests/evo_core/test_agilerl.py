"""Conversion of AgileRL's configurations: values with a counterpart, and reasons for those without."""

import math

import pytest
import yaml

from evo_core.config.parsing import ConfigError
from evo_core.importers.agilerl.conversion import convert
from evo_core.local import train_on_policy

UPPER = """
INIT_HP: {ENV_NAME: LunarLanderContinuous-v3, ALGO: PPO, CHANNELS_LAST: false, NUM_ENVS: 16, BATCH_SIZE: 128,
  LR: 0.0003, LEARN_STEP: 2048, MAX_STEPS: 2_000_000, TARGET_SCORE: 250., GAMMA: 0.99, GAE_LAMBDA: 0.95,
  ACTION_STD_INIT: 0.6, CLIP_COEF: 0.2, ENT_COEF: 0.01, VF_COEF: 0.5, MAX_GRAD_NORM: 0.5, TARGET_KL: , UPDATE_EPOCHS: 4,
  TOURN_SIZE: 2, ELITISM: true, POP_SIZE: 4, EVO_STEPS: 10_240, EVAL_STEPS: , EVAL_LOOP: 3, SHARE_ENCODERS: true,
  WANDB: true}
MUTATION_PARAMS: {NO_MUT: 0.4, ARCH_MUT: 0.2, NEW_LAYER: 0.2, PARAMS_MUT: 0.2, ACT_MUT: 0.1, RL_HP_MUT: 0.3,
  MUT_SD: 0.1, RAND_SEED: 42, MIN_LR: 0.0001, MAX_LR: 0.01, MIN_BATCH_SIZE: 8, MAX_BATCH_SIZE: 1024,
  MIN_GAMMA: 0.9, MAX_GAMMA: 0.999}
NET_CONFIG:
  latent_dim: 64
  encoder_config: {hidden_size: [64], activation: Tanh, min_mlp_nodes: 64, max_mlp_nodes: 500, layer_norm: true}
  head_config: {hidden_size: [32], activation: ReLU, output_activation: , min_hidden_layers: 1, max_hidden_layers: 4,
    min_mlp_nodes: 32, max_mlp_nodes: 400, output_vanish: true}
"""

RECURRENT = """
algorithm: {name: PPO, batch_size: 64, lr: 3e-4, learn_step: 16384, ent_coef: 0.0001, recurrent: true,
  max_seq_len: 16, share_encoders: false, use_rollout_buffer: true, normalize_images: true}
environment: {name: CartPole-v1, num_envs: 16, sync: true}
mutation:
  probabilities: {no_mut: 0.4, arch_mut: 0.0, new_layer: 0.0, params_mut: 0.2, act_mut: 0.0, rl_hp_mut: 0.2}
  rl_hp_selection: {lr: {min: 0.0001, max: 0.01, grow_factor: 1.5}, learn_step: {min: 8, max: 8192},
    dt: {min: 1, max: 2}}
  mutation_sd: 0.1
network:
  latent_dim: 64
  encoder_config: {hidden_state_size: 96, num_layers: 2, min_hidden_state_size: 32, max_hidden_state_size: 300}
  head_config: {hidden_size: [128], activation: ReLU, min_hidden_layers: 1, max_hidden_layers: 2, min_mlp_nodes: 128}
selection_strategy: {tournament_size: 3, elitism: false, strategy: tournament}
training: {max_steps: 600_000, target_score: 500.0, pop_size: 2, evo_steps: 1000, eval_steps: 200, eval_loop: 2}
"""

IMAGE = """
algorithm: {name: PPO, batch_size: 128, learn_step: 250}
environment: {name: "minigrid:MiniGrid-Empty-5x5-v0", num_envs: 6, wrappers: [gymnasium.wrappers.FlattenObservation,
  ["minigrid.wrappers:ImgObsWrapper", {}], [gymnasium.wrappers.TimeLimit, {max_episode_steps: 9}]]}
network:
  latent_dim: 300
  min_latent_dim: 128
  max_latent_dim: 512
  encoder_config: {channel_size: [32, 64, 128], kernel_size: [8, 4, 3], stride_size: [4, 2, 1], min_channel_size: 32,
    max_channel_size: 256, activation: LeakyReLU}
training: {max_steps: 20_000, pop_size: 4, evo_steps: 1000}
"""


def converted(text, **changes):
    content = yaml.safe_load(text)
    for dotted, value in changes.items():
        section, name = dotted.split("__")
        content[section][name] = value
    return convert(content)


def changed(conversion):
    return {note.becomes: (note.field, note.value, note.to) for note in conversion.notes.changed}


def dropped(conversion):
    return {note.field: note.why for note in conversion.notes.dropped}


def test_the_older_dictionaries_keep_every_value_that_has_a_place():
    config = converted(UPPER).config
    assert (config.env.id, config.env.num_envs, config.seed) == ("LunarLanderContinuous-v3", 16, 42)
    algorithm = config.algorithm
    assert (algorithm.lr, algorithm.batch_size, algorithm.learn_step, algorithm.update_epochs) == (3e-4, 128, 2048, 4)
    assert (algorithm.gamma, algorithm.gae_lambda, algorithm.clip_coef, algorithm.ent_coef) == (0.99, 0.95, 0.2, 0.01)
    assert (algorithm.vf_coef, algorithm.max_grad_norm, algorithm.target_kl) == (0.5, 0.5, None)
    assert config.population.size == 4
    assert (config.selection.tournament_size, config.selection.elitism) == (2, True)
    assert config.mutation.model_dump() == {
        **{"no_mutation": 0.4, "architecture": 0.2, "new_layer_prob": 0.2, "parameters": 0.2},
        **{"activation": 0.1, "rl_hp": 0.3, "mutation_sd": 0.1},
    }
    assert config.network.encoder.hidden_size == (64,)
    assert config.network.head.hidden_size == (32,)
    assert (config.network.encoder.activation, config.network.share_encoder) == ("Tanh", True)


def test_a_budget_per_agent_becomes_that_of_the_population():
    conversion = converted(UPPER)
    assert conversion.config.training.max_steps == 4 * 2_000_000
    assert changed(conversion)["training.max_steps"] == ("INIT_HP.MAX_STEPS", 2_000_000, 8_000_000)
    assert conversion.config.training.evo_steps == 10_240
    assert "training.evo_steps" not in changed(conversion)
    assert conversion.config.training.target == 250


def test_a_converted_budget_below_one_generation_is_raised_to_one():
    conversion = converted(UPPER, INIT_HP__MAX_STEPS=5000)
    assert conversion.config.training.max_steps == 4 * 10_240
    assert conversion.config.max_generations == 1


def test_episodes_deviation_and_value_loss_keep_agilerls_meaning():
    conversion = converted(UPPER)
    assert conversion.config.evaluation.episodes == 3 * 16
    assert conversion.config.evaluation.deterministic is False
    assert conversion.config.selection.fitness_window == 3
    assert conversion.config.algorithm.action_std_init == pytest.approx(math.exp(0.6), abs=1e-6)
    assert conversion.config.algorithm.clip_value is True
    assert {"evaluation.episodes", "algorithm.action_std_init", "algorithm.clip_value"} <= changed(conversion).keys()


def test_ranges_become_genes_around_their_initial_values():
    search = converted(UPPER).config.search
    assert {name: (gene.min, gene.max, gene.scale) for name, gene in search.items()} == {
        "lr": (1e-4, 1e-2, "log"),
        "batch_size": (8, 1024, "log"),
        "gamma": (0.9, 0.999, "log1m"),
    }
    conversion = converted(RECURRENT)
    assert conversion.config.search["learn_step"].model_dump(include={"min", "max"}) == {"min": 16, "max": 16_384}
    assert changed(conversion)["search.learn_step"][1:] == ([8.0, 8192.0], [16, 16_384])


def test_bounds_of_encoder_and_head_are_joined():
    conversion = converted(UPPER)
    bounds = conversion.config.network.bounds
    assert (bounds.layers, bounds.nodes) == ((1, 4), (32, 500))
    assert "network.bounds.nodes" in changed(conversion)
    bounds = converted(RECURRENT).config.network.bounds
    assert (bounds.layers, bounds.nodes, bounds.units) == ((1, 2), (128, 512), (32, 300))


def test_every_field_without_a_counterpart_is_named_with_the_reason():
    assert dropped(converted(UPPER)) == {
        "INIT_HP.CHANNELS_LAST": "channels of images are found on either side",
        "INIT_HP.WANDB": "trackers are named by `evolve run --track wandb`",
        "NET_CONFIG.encoder_config.layer_norm": "only SimBa's blocks are normalized: a normalized layer could not grow "
        "without changing its output",
        "NET_CONFIG.head_config.output_activation": "heads end in logits and values; network.squash_output squashes "
        "actions",
        "NET_CONFIG.head_config.output_vanish": "networks are always initialized orthogonally, with small last layers "
        "of the policy",
    }
    conversion = converted(RECURRENT, algorithm__colour="red")
    assert dropped(conversion)["algorithm.colour"] == "not known to evolve"
    assert dropped(conversion).keys() == {
        *("algorithm.colour", "algorithm.use_rollout_buffer", "algorithm.normalize_images"),
        *("mutation.rl_hp_selection.lr.grow_factor", "mutation.rl_hp_selection.dt.min"),
        "mutation.rl_hp_selection.dt.max",
    }


def test_a_recurrent_manifest_keeps_its_memory():
    config = converted(RECURRENT).config
    encoder = config.network.encoder
    assert config.algorithm.recurrent
    assert (encoder.hidden_state_size, encoder.num_layers, encoder.max_seq_len) == (96, 2, 16)
    assert config.network.share_encoder is False
    assert config.env.vectorization == "sync"
    assert (config.evaluation.episodes, config.evaluation.max_steps) == (32, 200)
    assert (config.algorithm.lr, config.algorithm.gamma, config.algorithm.update_epochs) == (3e-4, 0.99, 4)
    assert config.selection.elitism is False


def test_agilerl_values_that_do_not_fit_are_adapted_with_a_note():
    conversion = converted(RECURRENT)
    assert conversion.config.training.evo_steps == 16_384
    assert changed(conversion)["training.evo_steps"] == ("training.evo_steps", 1000, 16_384)
    assert changed(conversion)["selection.tournament_size"] == ("selection_strategy.tournament_size", 3, 2)
    conversion = converted(IMAGE)
    assert conversion.config.training.evo_steps == 1002
    assert changed(conversion)["training.evo_steps"][1:] == (1000, 1002)
    conversion = converted(IMAGE, algorithm__batch_size=1024)
    assert conversion.config.algorithm.batch_size == 250
    assert changed(conversion)["algorithm.batch_size"] == ("algorithm.batch_size", 1024, 250)


def test_convolutions_get_odd_kernels_and_known_activations():
    conversion = converted(IMAGE)
    encoder, bounds = conversion.config.network.encoder, conversion.config.network.bounds
    assert (encoder.channel_size, encoder.kernel_size, encoder.stride_size) == ((32, 64, 128), (9, 5, 3), (4, 2, 1))
    assert (bounds.channels, bounds.kernels, bounds.latent_dim) == ((32, 256), (3, 9), (128, 512))
    assert encoder.activation == "ReLU"
    assert {"network.encoder.kernel_size", "network.encoder.activation"} <= changed(conversion).keys()
    assert conversion.config.env.wrappers == [
        "FlattenObservation",
        "minigrid.wrappers:ImgObsWrapper",
        {"TimeLimit": {"max_episode_steps": 9}},
    ]


def test_simba_and_leaf_encoders_are_understood():
    simba = {"simba": True, "encoder_config": {"hidden_size": 32, "num_blocks": 2, "max_blocks": 5}}
    encoder = converted(UPPER, **{"INIT_HP__NUM_ENVS": 8}).config.network.encoder
    assert encoder.kind == "auto"
    network = convert({**yaml.safe_load(UPPER), "NET_CONFIG": simba}).config.network
    assert (network.encoder.kind, network.encoder.width, network.encoder.hidden_size) == ("simba", 32, (128, 128))
    assert network.bounds.layers == (1, 5)
    leaves = {"encoder_config": {"latent_dim": 32, "mlp_config": {"hidden_size": [48]}, "vector_space_mlp": True}}
    conversion = convert({**yaml.safe_load(UPPER), "NET_CONFIG": leaves})
    assert conversion.config.network.encoder.hidden_size == (48,)
    assert "NET_CONFIG.encoder_config.latent_dim" in dropped(conversion)


def test_without_mutations_nothing_mutates():
    conversion = converted(RECURRENT, training__hpo=False)
    assert conversion.config.mutation.no_mutation == 1
    assert conversion.config.mutation.rl_hp == 0


def test_a_manifest_of_two_lines_gets_agilerls_defaults():
    conversion = convert({"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}})
    assert conversion.config.algorithm.lr == 1e-4
    assert conversion.config.training.max_steps == 1_000_000
    assert changed(conversion)["algorithm"][2]["batch_size"] == 64


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (UPPER, {"INIT_HP__ALGO": "DQN"}, "INIT_HP.ALGO: DQN is off-policy; evolve trains PPO"),
        (UPPER, {"INIT_HP__ALGO": "Rainbow DQN"}, "is off-policy"),
        (RECURRENT, {"algorithm__name": "IPPO"}, "algorithm.name: IPPO is multi-agent"),
        (RECURRENT, {"algorithm__name": "GRPO"}, "for language models"),
        (RECURRENT, {"algorithm__name": "A2C"}, "A2C is not known"),
        (UPPER, {"INIT_HP__POP_SIZE": "many"}, "INIT_HP.POP_SIZE: expected a number, got 'many'"),
        (UPPER, {"INIT_HP__NUM_ENVS": 0}, "INIT_HP.NUM_ENVS: expected at least 1, got 0"),
        (UPPER, {"INIT_HP__GAMMA": 1.5}, "algorithm.gamma: expected"),
        (RECURRENT, {"environment__name": None}, "environment.name"),
        (IMAGE, {"network__encoder_config": {"kernel_size": [[3, 5]]}}, "expected square kernels"),
    ],
)
def test_configurations_that_cannot_be_converted_are_refused(text, changes, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        converted(text, **changes)


def test_a_file_of_another_program_is_refused():
    with pytest.raises(ConfigError, match="not a configuration of AgileRL: expected a manifest's sections"):
        convert({"model": {"layers": 3}})


def test_a_converted_configuration_trains():
    small = {
        "training__max_steps": 128,
        "training__evo_steps": 128,
        "training__eval_loop": 1,
        "training__eval_steps": 9,
    }
    conversion = converted(RECURRENT, algorithm__learn_step=64, environment__num_envs=2, **small)
    assert conversion.config.max_generations == 1
    assert len(train_on_policy(conversion.config).commits) == 2
