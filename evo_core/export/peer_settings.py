"""A member's hyperparameters and network as other libraries take them, and what does not carry over, in sentences.

Names and defaults are those of Stable-Baselines3 2.9 (`PPO`, sb3-contrib's `RecurrentPPO`), rl-zoo3's files of
hyperparameters, and the arguments of CleanRL's `ppo.py` and `ppo_continuous_action.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gymnasium.spaces import Box, Dict, Discrete, Tuple

from evo_core.agent.normalization import LIMIT
from evo_core.config.network import Activation
from evo_core.config.run_config import RunConfig
from evo_core.config.sections import AlgorithmConfig
from evo_core.export.peer_rollout import rollout_differences, rollout_of
from evo_core.genome.architecture import Layers
from evo_core.genome.encoders import EncoderArchitecture, MlpArchitecture, RecurrentArchitecture, SimbaArchitecture
from evo_core.genome.genome import Genome, algorithm_of
from evo_core.spaces.observations import ObservationLayout
from evo_core.spaces.spaces import Spaces

SEEDS = 2**32
"""Number of seeds that NumPy's global generator takes, which the other libraries seed."""


@dataclass(frozen=True, slots=True)
class Sb3Settings:
    """Settings for Stable-Baselines3. `shared` are the nodes of the layers that policy and value share, `pi` and `vf`
    those of each; `kwargs` are the algorithm's keyword arguments besides policy and network.

    `lstm` holds policy_kwargs of a recurrent policy. `normalize`: keyword arguments of VecNormalize, or None.
    """

    recurrent: bool
    policy: str
    kwargs: dict[str, float | int | None]
    shared: tuple[int, ...]
    pi: tuple[int, ...]
    vf: tuple[int, ...]
    activation: Activation
    policy_kwargs: dict[str, float | int | bool]
    normalize: dict[str, float | bool] | None
    decays: bool
    left_out: tuple[str, ...]

    @property
    def separate(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Nodes of policy and value as networks of their own, as a plain `net_arch` has them."""
        return (*self.shared, *self.pi), (*self.shared, *self.vf)


@dataclass(frozen=True, slots=True)
class CleanrlSettings:
    """Arguments of one of CleanRL's scripts, by their names in its `Args`."""

    script: str
    arguments: dict[str, str | float | int | bool | None]
    left_out: tuple[str, ...]


def sb3_settings(config: RunConfig, genome: Genome, spaces: Spaces) -> Sb3Settings:
    """Translate a member for Stable-Baselines3."""
    algorithm, architecture = algorithm_of(genome, config), genome.architecture
    rollout = rollout_of(config, algorithm)
    before, lstm, said = _encoder(architecture.encoder, shared=architecture.share_encoder)
    layers = (*before, architecture.latent_dim)
    shares = architecture.share_encoder and not lstm and _is_flat(spaces)
    said += _heads("actor_head", architecture.actor_head) + _heads("critic_head", architecture.critic_head)
    pi, vf = (_dense(head) for head in _both_heads(genome))
    return Sb3Settings(
        recurrent=bool(lstm),
        policy=_policy(spaces, recurrent=bool(lstm)),
        kwargs={
            "learning_rate": algorithm.lr,
            "n_steps": rollout.n_steps,
            "batch_size": rollout.batch_size,
            "n_epochs": algorithm.update_epochs,
            "gamma": algorithm.gamma,
            "gae_lambda": algorithm.gae_lambda,
            "clip_range": algorithm.clip_coef,
            "clip_range_vf": algorithm.clip_coef if algorithm.clip_value else None,
            "ent_coef": algorithm.ent_coef,
            "vf_coef": algorithm.vf_coef / 2,  # of the mean squared error, without the half
            "max_grad_norm": algorithm.max_grad_norm,
            "target_kl": None if algorithm.target_kl is None else algorithm.target_kl / 1.5,  # stops at 1.5 times it
            "seed": config.seed % SEEDS,
        },
        shared=layers if shares else (),
        pi=pi if shares else (*layers, *pi),
        vf=vf if shares else (*layers, *vf),
        activation=genome.activation,
        policy_kwargs={**lstm, **_std(algorithm, spaces)},
        normalize=_normalize(algorithm),
        decays=algorithm.lr_schedule == "linear",
        left_out=(*said, *_sb3_differences(config, algorithm, genome, spaces)),
    )


def cleanrl_settings(config: RunConfig, genome: Genome, spaces: Spaces, steps: int) -> CleanrlSettings:
    """Translate a member for CleanRL; `steps` it shall be trained for."""
    algorithm, continuous = algorithm_of(genome, config), isinstance(spaces.action, Box)
    rollout = rollout_of(config, algorithm)
    said = [
        "the network: it is written in the script's class Agent, two layers of 64 nodes with tanh each for policy and "
        "value; put that of network.architecture in its place"
    ]
    if config.env.kwargs or config.env.wrappers:
        said.append(
            f"env.kwargs {config.env.kwargs} and env.wrappers {config.env.wrappers}: change the script's make_env"
        )
    if continuous != (algorithm.normalize_observations and algorithm.normalize_returns):
        does = "normalizes observations and rewards" if continuous else "normalizes neither observations nor rewards"
        said.append(
            f"normalize_observations {algorithm.normalize_observations}, normalize_returns "
            f"{algorithm.normalize_returns}: the script {does}"
        )
    if not isinstance(spaces.action, Box | Discrete) or not _is_flat(spaces):
        said.append(f"spaces: the script takes a vector and discrete or continuous actions, not {spaces.observation}")
    if algorithm.lr_schedule != "constant":
        said.append(f"lr_schedule {algorithm.lr_schedule}: the script decays from the first update on, or not at all")
    arguments: dict[str, str | float | int | bool | None] = {
        "env_id": config.env.id,
        "total_timesteps": steps,
        "learning_rate": algorithm.lr,
        "num_envs": config.env.num_envs,
        "num_steps": rollout.n_steps,
        "anneal_lr": False,
        "gamma": algorithm.gamma,
        "gae_lambda": algorithm.gae_lambda,
        "num_minibatches": rollout.minibatches,
        "update_epochs": algorithm.update_epochs,
        "norm_adv": True,
        "clip_coef": algorithm.clip_coef,
        "clip_vloss": algorithm.clip_value,
        "ent_coef": algorithm.ent_coef,
        "vf_coef": algorithm.vf_coef,
        "max_grad_norm": algorithm.max_grad_norm,
        "target_kl": algorithm.target_kl,
        "seed": config.seed % SEEDS,
    }
    said += [*_cleanrl_differences(algorithm, spaces), *_of_every_peer(config, algorithm, genome, spaces)]
    return CleanrlSettings("ppo_continuous_action.py" if continuous else "ppo.py", arguments, tuple(said))


def _dense(layers: Layers) -> tuple[int, ...]:
    return tuple(layer.nodes for layer in layers if layer.kind == "dense")


def _both_heads(genome: Genome) -> tuple[Layers, Layers]:
    return genome.architecture.actor_head, genome.architecture.critic_head


def _encoder(
    encoder: EncoderArchitecture, *, shared: bool
) -> tuple[tuple[int, ...], dict[str, float | int | bool], list[str]]:
    """Return the nodes of the layers before the latent vector, policy_kwargs of recurrent layers, and what is lost."""
    match encoder:
        case MlpArchitecture():
            return _dense(encoder.layers), {}, _heads("encoder", encoder.layers)
        case SimbaArchitecture():
            lost = f"encoder: SimBa's {len(encoder.layers)} normalized residual blocks, in their place is one layer"
            return (encoder.width,), {}, [f"{lost} of {encoder.width} nodes"]
        case RecurrentArchitecture():
            units = [layer.nodes for layer in encoder.layers]
            over = encoder.features
            said = [] if over is None else [f"encoder: what comes before the recurrent layers ({over.kind})"]
            if len(set(units)) > 1 or any(layer.kind == "residual" for layer in encoder.layers):
                said.append(f"encoder: recurrent layers of {units} units with residual ones; all have {units[0]}")
            if encoder.cell != "lstm":
                said.append(f"encoder: {encoder.cell} cells; RecurrentPPO has lstm cells only")
            said.append(
                f"max_seq_len {encoder.max_seq_len}: RecurrentPPO backpropagates through all of an episode's steps "
                "in a rollout"
            )
            said.append("batch_size counts steps of padded sequences there, whole pieces of episodes here")
            sizes = {"lstm_hidden_size": units[0], "n_lstm_layers": len(units)}
            return (), {**sizes, "shared_lstm": shared, "enable_critic_lstm": not shared}, said
    return (), {}, [f"encoder: {encoder.kind}; the library's own features extractor takes its place"]


def _heads(part: str, layers: Layers) -> list[str]:
    residual = [layer.nodes for layer in layers if layer.kind == "residual"]
    if not residual:
        return []
    return [f"{part}: residual layers of {', '.join(map(str, residual))} inner nodes, which net_arch cannot name"]


def _is_flat(spaces: Spaces) -> bool:
    """Return True for an observation that an MLP takes: not nested, no image."""
    return not isinstance(spaces.observation, Dict | Tuple) and not any(
        leaf.image for leaf in ObservationLayout(spaces.observation).leaves
    )


def _policy(spaces: Spaces, *, recurrent: bool) -> str:
    kind = "Mlp" if _is_flat(spaces) else "MultiInput" if isinstance(spaces.observation, Dict | Tuple) else "Cnn"
    return f"{kind}{'Lstm' if recurrent else ''}Policy"


def _std(algorithm: AlgorithmConfig, spaces: Spaces) -> dict[str, float | int | bool]:
    return {"log_std_init": math.log(algorithm.action_std_init)} if isinstance(spaces.action, Box) else {}


def _normalize(algorithm: AlgorithmConfig) -> dict[str, float | bool] | None:
    if not (algorithm.normalize_observations or algorithm.normalize_returns):
        return None
    return {
        "norm_obs": algorithm.normalize_observations,
        "norm_reward": algorithm.normalize_returns,
        "clip_obs": LIMIT,
        "gamma": algorithm.gamma,
    }


def _sb3_differences(config: RunConfig, algorithm: AlgorithmConfig, genome: Genome, spaces: Spaces) -> Sequence[str]:
    said = _of_every_peer(config, algorithm, genome, spaces)
    if isinstance(spaces.observation, Tuple):
        said.append("observations that are tuples: Stable-Baselines3 takes dictionaries; wrap the environment")
    if not _is_flat(spaces):
        said.append("images: CnnPolicy's own convolutions need 36 × 36 pixels or more, as bytes")
    if config.env.wrappers:
        said.append(f"env.wrappers {config.env.wrappers}: give them to make_vec_env as wrapper_class")
    if algorithm.clip_value:
        said.append("clip_value: the clipped value loss alone there, the larger of clipped and unclipped error here")
    if algorithm.target_kl is not None:
        said.append("target_kl stops after a minibatch there, after an epoch here")
    return said


def _cleanrl_differences(algorithm: AlgorithmConfig, spaces: Spaces) -> list[str]:
    said = [
        "episodes cut off by a time limit: the script takes them as terminated, here the value of their last "
        "observation is added"
    ]
    if isinstance(spaces.action, Box) and algorithm.action_std_init != 1:
        said.append(
            f"action_std_init {algorithm.action_std_init:g}: the script starts at 1; in its class Agent, start "
            f"actor_logstd at {math.log(algorithm.action_std_init):.4g}"
        )
    if algorithm.target_kl is not None:
        said.append("target_kl is compared with the KL of an epoch's last minibatch there, with the epoch's mean here")
    return said


def _of_every_peer(config: RunConfig, algorithm: AlgorithmConfig, genome: Genome, spaces: Spaces) -> list[str]:
    said = rollout_differences(config, algorithm)
    said.append("advantages are normalized over each minibatch there, over the rollout here")
    if not isinstance(spaces.action, Box):
        said.append("action masks, if the environment gives some: use sb3-contrib's MaskablePPO; PPO ignores them")
    if config.seed >= SEEDS:
        said.append(f"seed {config.seed}: seeds are below 2**32 there; {config.seed % SEEDS} takes its place")
    if genome.architecture.squash_output:
        said.append("squash_output: actions are clipped to their bounds there, not squashed")
    if algorithm.lr_schedule == "kl":
        said.append(f"lr_schedule kl: the rate {algorithm.lr:g} is constant there")
    return said
