"""What a run found, as files: settings that Stable-Baselines3 really takes, links of the report, replays."""

import json
import re
import runpy
import shlex
from itertools import pairwise, product
from urllib.parse import unquote

import pytest
import yaml
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

import evolve_rl
from evo_core.config.parsing import parse_config
from evo_core.envs.inspection import inspect_environment
from evo_core.export.peer_rollout import rollout_of
from evo_core.export.peer_settings import cleanrl_settings, sb3_settings
from evo_core.genome.architecture import Layer
from evo_core.genome.genome import algorithm_of, initial_genome
from evo_core.networks.actor_critic import ActorCritic
from evo_core.spaces.spaces import Spaces
from flows.cli.app import _main
from tasks.yaml_text import load_yaml
from tests.conftest import make_config
from tests.flows.conftest import make_run
from tests.spreading import undisturbed

PLAIN = {
    "training.max_steps": 1536,
    "mutation": {"no_mutation": 1, "rl_hp": 1, "architecture": 0, "parameters": 0},
    "search": {"lr": {"min": 1e-4, "max": 1e-2, "scale": "log"}},
}
CONTINUOUS = {
    "algorithm.normalize_observations": True,
    "algorithm.normalize_returns": True,
    "algorithm.clip_value": True,
    "algorithm.target_kl": 0.03,
    "algorithm.lr_schedule": "linear",
    "network.share_encoder": False,
}
RUNS = {
    "cartpole": make_config(**PLAIN),
    "separate": make_config(**PLAIN, **{"network.share_encoder": False}),
    "pendulum": make_config("Pendulum-v1", **PLAIN, **CONTINUOUS),
    "recurrent": make_config(
        **PLAIN,
        **{
            "algorithm.recurrent": True,
            "network.encoder.hidden_state_size": 16,
            "network.encoder.num_layers": 2,
            "network.bounds.units": [8, 64],
        },
    ),
}
CLEANRL = {
    *("env_id", "total_timesteps", "learning_rate", "num_envs", "num_steps", "anneal_lr", "gamma", "gae_lambda"),
    *("num_minibatches", "update_epochs", "norm_adv", "clip_coef", "clip_vloss", "ent_coef", "vf_coef"),
    *("max_grad_norm", "target_kl", "seed"),
}
"""Arguments of CleanRL's ppo.py and ppo_continuous_action.py that say how to learn."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every run, and the directory with what it found."""
    store = tmp_path_factory.mktemp("found")
    found = {}
    for name, config in RUNS.items():
        make_run(store, name, config)
        run = evolve_rl.open_run(store, name)
        run.export_config(store / f"{name}-config")
        found[name] = run, store / f"{name}-config"
    return found


def winner(run):
    return run.tree[run.winner.uid].offspring.genome


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", RUNS)
def test_stable_baselines3_builds_the_model_with_these_hyperparameters(exported, name):
    run, directory = exported[name]
    module = runpy.run_path(str(directory / "sb3_ppo.py"))
    model = module["make_model"]()
    algorithm = algorithm_of(winner(run), run.config)
    assert (model.gamma, model.gae_lambda) == (algorithm.gamma, algorithm.gae_lambda)
    assert (model.ent_coef, model.max_grad_norm) == (algorithm.ent_coef, algorithm.max_grad_norm)
    assert model.clip_range(1.0) == algorithm.clip_coef and model.n_epochs == algorithm.update_epochs
    assert model.lr_schedule(1.0) == pytest.approx(algorithm.lr)
    assert model.n_envs == run.config.env.num_envs and model.n_steps * model.n_envs == algorithm.learn_step
    assert model.batch_size <= algorithm.batch_size and model.n_steps * model.n_envs % model.batch_size == 0
    assert model.vf_coef * 2 == algorithm.vf_coef
    assert isinstance(model.env, VecNormalize) == algorithm.normalize_observations
    model.learn(model.n_steps * model.n_envs)


@pytest.mark.parametrize("name", ["cartpole", "separate", "pendulum"])
def test_its_network_is_the_members(exported, name):
    run, directory = exported[name]
    model, own = runpy.run_path(str(directory / "sb3_ppo.py"))["make_model"](), run.agent().network
    assert parameters(model.policy) == parameters(own)
    built = [
        (layer.in_features, layer.out_features) for layer in model.policy.modules() if isinstance(layer, nn.Linear)
    ]
    mine = [(layer.in_features, layer.out_features) for layer in own.modules() if isinstance(layer, nn.Linear)]
    assert sorted(set(built)) == sorted(set(mine))
    activations = {type(layer) for layer in model.policy.modules() if "activation" in type(layer).__module__}
    assert activations == {getattr(nn, winner(run).activation)}


def test_what_only_some_settings_have_is_translated(exported):
    run, directory = exported["pendulum"]
    module = runpy.run_path(str(directory / "sb3_ppo.py"))
    model = module["make_model"]()
    assert model.lr_schedule(0.1) == pytest.approx(0.3 * algorithm_of(winner(run), run.config).lr)
    assert model.clip_range_vf(1.0) == 0.2 and model.target_kl == pytest.approx(0.02)
    assert model.policy.log_std.exp().tolist() == pytest.approx([0.6])
    assert (model.env.norm_obs, model.env.norm_reward, model.env.clip_obs) == (True, True, 10.0)
    recurrent = runpy.run_path(str(exported["recurrent"][1] / "sb3_ppo.py"))["make_model"]()
    lstm = recurrent.policy.lstm_actor
    assert type(recurrent).__name__ == "RecurrentPPO" and recurrent.policy.lstm_critic is None
    assert (lstm.hidden_size, lstm.num_layers) == (16, 2)


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_rl_zoo3_reads_hyperparameters_that_build_a_model(exported, name):
    run, directory = exported[name]
    ((env_id, given),) = yaml.safe_load((directory / "rl_zoo3.yml").read_text()).items()
    assert env_id == run.config.env.id and given.pop("n_timesteps") == run.schedule().stages[-1].end
    n_envs = given.pop("n_envs")
    assert n_envs == run.config.env.num_envs
    policy_kwargs = eval(given.pop("policy_kwargs"), {"nn": nn})  # as rl-zoo3 does
    normalize = eval(given.pop("normalize", "None"))
    assert (normalize is not None) == (name == "pendulum")
    model = PPO(env=make_vec_env(env_id, n_envs), policy_kwargs=policy_kwargs, **given)
    genome = winner(run)
    heads = [layer.nodes for layer in genome.architecture.actor_head]
    encoder = [layer.nodes for layer in genome.architecture.encoder.layers]
    built = [layer.out_features for layer in model.policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    assert built == [*encoder, genome.architecture.latent_dim, *heads]


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_cleanrl_is_given_arguments_of_its_own(exported, name):
    run, directory = exported[name]
    words = shlex.split((directory / "cleanrl.sh").read_text(), comments=True)
    script = {"cartpole": "ppo.py", "pendulum": "ppo_continuous_action.py"}[name]
    assert words[:2] == ["python", f"cleanrl/{script}"]
    names = {re.sub("^no-", "", word.removeprefix("--")).replace("-", "_") for word in words if word.startswith("--")}
    assert names <= CLEANRL and names >= CLEANRL - {"target_kl"}
    algorithm = algorithm_of(winner(run), run.config)
    given = dict(pairwise(words))
    assert float(given["--vf-coef"]) == algorithm.vf_coef
    assert int(given["--num-steps"]) * int(given["--num-envs"]) == algorithm.learn_step
    minibatch, remainder = divmod(algorithm.learn_step, int(given["--num-minibatches"]))
    assert minibatch <= algorithm.batch_size and remainder == 0


def test_what_does_not_carry_over_is_named():
    given = {"network.squash_output": True, "algorithm.lr_schedule": "kl", "algorithm.target_kl": 0.02, "search": {}}
    config = make_config("Pendulum-v1", **given, seed=2**32 + 7)
    found = inspect_environment(config).spaces
    genome = initial_genome(config, found.observation)
    grown = (*genome.architecture.actor_head, Layer(kind="residual", nodes=24))
    genome = genome.model_copy(update={"architecture": genome.architecture.model_copy(update={"actor_head": grown})})
    sb3 = " ".join(sb3_settings(config, genome, found).left_out)
    for said in ("actor_head: residual layers of 24 inner nodes", "squash_output", "lr_schedule kl", "advantages"):
        assert said in sb3
    assert "seed 4294967303: seeds are below 2**32 there; 7 takes its place" in sb3
    settings = cleanrl_settings(config, genome, found, 1)
    cleanrl = " ".join(settings.left_out)
    for said in (
        *("the network: it is written in the script", "squash_output", "the script normalizes observations"),
        *("action_std_init 0.6: the script starts at 1", "start actor_logstd at -0.5108", "takes them as terminated"),
        *("KL of an epoch's last minibatch there", "seed 4294967303"),
    ):
        assert said in cleanrl
    assert settings.arguments["seed"] == 7 == sb3_settings(config, genome, found).kwargs["seed"]
    assert "action masks" not in sb3 + cleanrl


def test_that_action_masks_need_another_algorithm_is_named_for_discrete_actions():
    config = make_config(**{"algorithm.target_kl": None})
    space = Spaces(spaces.Box(-1.0, 1.0, (4,)), spaces.Discrete(2))
    genome = initial_genome(config, space.observation)
    for settings in (sb3_settings(config, genome, space), cleanrl_settings(config, genome, space, 1)):
        said = " ".join(settings.left_out)
        assert "use sb3-contrib's MaskablePPO" in said
        assert "action_std_init" not in said and "target_kl" not in said and "seed" not in said


@pytest.mark.parametrize(
    ("env", "overrides", "policy", "said"),
    [
        ("Probe/BrightPixel-v0", {}, "CnnPolicy", "encoder: cnn; the library's own features extractor"),
        ("Probe/Liar-v0", {}, "MultiInputPolicy", "encoder: multi_input"),
        ("CartPole-v1", {"network.encoder.kind": "simba"}, "MlpPolicy", "SimBa's 1 normalized residual blocks"),
        (
            "CartPole-v1",
            {"algorithm.recurrent": True, "network.encoder.cell": "gru"},
            "MlpLstmPolicy",
            "lstm cells only",
        ),
    ],
)
def test_other_networks_get_the_nearest_policy_and_a_sentence(env, overrides, policy, said):
    config = make_config(env, **overrides)
    found = inspect_environment(config).spaces
    settings = sb3_settings(config, initial_genome(config, found.observation), found)
    assert settings.policy == policy and said in " ".join(settings.left_out)


def test_a_rollout_that_no_other_library_can_make_is_rounded_and_named():
    config = make_config(**{"algorithm.learn_step": 100, "algorithm.batch_size": 18, "training.max_steps": 768})
    space = Spaces(spaces.Box(-1.0, 1.0, (4,)), spaces.Discrete(2))
    rollout = rollout_of(config, config.algorithm)
    assert (rollout.n_steps, rollout.minibatches, rollout.batch_size) == (21, 6, 14)
    updates = [update.steps for update in undisturbed(config).commits[1].members[0].training.curve]
    assert updates == [88, 84, 84] and rollout.n_steps == round(sum(updates) / len(updates) / config.env.num_envs)
    genome = initial_genome(config, space.observation)
    for settings in (sb3_settings(config, genome, space), cleanrl_settings(config, genome, space, 1)):
        said = " ".join(settings.left_out)
        assert "rollouts had 84 steps on average, learn_step asks for 100" in said
        assert "an epoch has 6 minibatches of 14 steps there, 5 of at most 18 here" in said


def test_the_steps_of_a_rollout_are_divided_into_equal_minibatches():
    for num_envs, per_env, learn_step, batch_size in product((1, 3, 4), (31, 64, 75), (16, 62, 93, 500), (2, 3, 7, 16)):
        config = rollouts(num_envs, per_env, learn_step, batch_size)
        rollout = rollout_of(config, config.algorithm)
        steps = rollout.n_steps * num_envs
        assert steps % rollout.minibatches == 0 and steps // rollout.minibatches == rollout.batch_size >= 2
        assert rollout.wanted == -(-steps // batch_size) and rollout.minibatches <= 2 * rollout.wanted
        below = range(rollout.wanted, rollout.minibatches)
        assert all(steps % count for count in below)


def rollouts(num_envs, per_env, learn_step, batch_size):
    steps = num_envs * per_env
    return parse_config(
        {
            "env": {"id": "CartPole-v1", "num_envs": num_envs},
            "algorithm": {"learn_step": learn_step, "batch_size": batch_size},
            "population": {"size": 2},
            "training": {"evo_steps": steps, "max_steps": 2 * steps},
        }
    )


def test_the_exported_configurations_are_read_by_the_command_that_runs_them(exported, here, capsys):
    run, directory = exported["cartpole"]
    for name in ("config.yaml", "config-evolve.yaml"):
        assert _main(["run", "--config", str(directory / name), "--dry-run"]) == 0
        shown = load_yaml(capsys.readouterr().out, "")
        assert shown["architecture"] == winner(run).architecture.model_dump(mode="json")
        assert shown["parameters"]["total"] == parameters(
            ActorCritic(winner(run), inspect_environment(run.config).spaces)
        )
    assert run.found_config(evolve=True).search.keys() == run.config.search.keys()


def test_the_command_writes_a_directory_and_lists_what_is_missing(exported, here, capsys, monkeypatch):
    run, _ = exported["cartpole"]
    asked = ["export", "cartpole", "--format", "config", "--store", run.store]
    assert _main(asked) == 0
    shown = capsys.readouterr().out
    directory = here / f"cartpole-{run.winner.uid.replace('/', '-')}-config"
    files = {
        "README.md",
        "config.yaml",
        "config-evolve.yaml",
        "schedule.json",
        "sb3_ppo.py",
        "rl_zoo3.yml",
        "cleanrl.sh",
    }
    assert {path.name for path in directory.iterdir()} == files
    assert (
        all(name in shown for name in files - {"README.md"})
        and "What does not carry over" in (directory / "README.md").read_text()
    )
    assert _main([*asked, "--member", "g0001/m01", "--output", "other"]) == 0
    assert json.loads((here / "other" / "schedule.json").read_text())["member"] == "g0001/m01"
    assert _main([*asked, "--output", "other/schedule.json"]) == 2
    assert "expected a directory to write, this is a file" in capsys.readouterr().err


def test_files_that_no_export_wrote_are_kept(exported, here, capsys):
    run, _ = exported["cartpole"]
    asked = ["export", "cartpole", "--format", "config", "--store", run.store, "--output"]
    for taken in ("README.md", "schedule.json"):
        (here / taken).mkdir()
        (here / taken / taken).write_text("{}")
        assert _main([*asked, taken]) == 2
        assert f"--output {taken}: {taken} is there already" in capsys.readouterr().err
        assert [path.read_text() for path in (here / taken).iterdir()] == ["{}"]
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine")
    assert _main([*asked, "mine"]) == 0
    (here / "mine" / "README.md").write_text("of an earlier export")
    assert _main([*asked, "mine"]) == 0
    assert "What does not carry over" in (here / "mine" / "README.md").read_text()


def test_the_report_links_the_configurations_and_the_schedule(exported, tmp_path):
    run, directory = exported["cartpole"]
    page = run.report(tmp_path).read_text()
    links = dict(re.findall(r'<a download="cartpole-([^"]+)" href="data:text/plain;charset=utf-8,([^"]+)"', page))
    assert links.keys() == {"config.yaml", "config-evolve.yaml", "schedule.json"}
    for name, content in links.items():
        assert unquote(content) == (directory / name).read_text()


def test_a_replay_has_one_source(here, capsys):
    for arguments in (["replay"], ["replay", "run", "--schedule", "s.json"]):
        assert _main(arguments) == 2
        assert "expected a run, or --schedule FILE without a run" in capsys.readouterr().err
    assert _main(["replay", "--schedule", "s.json"]) == 2
    assert "--schedule s.json: there is no such file" in capsys.readouterr().err
    (here / "s.json").write_text("{}")
    assert _main(["replay", "--schedule", "s.json"]) == 2
    assert "--schedule s.json: run_id: Field required" in capsys.readouterr().err
