"""Reasons why some AgileRL fields have no counterpart."""

OTHER_ALGORITHMS: dict[str, tuple[str, ...]] = {
    "off-policy": ("DQN", "RAINBOWDQN", "RAINBOW", "DDPG", "TD3"),
    "offline": ("CQN",),
    "a contextual bandit": ("NEURALUCB", "NEURALTS"),
    "multi-agent": ("IPPO", "MADDPG", "MATD3"),
    "for language models": ("GRPO", "DPO", "SFT", "CISPO", "GSPO", "LLMPPO", "LLMREINFORCE", "ILQL", "BC_LM"),
}

_OFF_POLICY = "PPO learns from its own rollouts alone"
_INITIALIZATION = "networks are always initialized orthogonally, with small last layers of the policy"
_STORE = "every generation is kept in the store"
_OPERATIONAL = "this is an operational setting: see the flags of `evolve run --help`"
_ENVIRONMENT = "environments are registered with Gymnasium, and named package.module:Id"
_ELITE = "the elite passes unmutated"

REASONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "memory_size",
            "max_size",
            "tau",
            "double",
            "dueling",
            "n_step",
            "per",
            "alpha",
            "beta",
            "learning_delay",
            "eps_start",
            "eps_end",
            "eps_decay",
            "expl_noise",
            "o_u_noise",
            "policy_freq",
            "noisy",
            "noise_std",
            "lr_actor",
            "lr_critic",
            "experience_sharing",
            "replay_buffer",
        ),
        _OFF_POLICY,
    ),
    **dict.fromkeys(("init_layers", "output_vanish"), _INITIALIZATION),
    **dict.fromkeys(
        ("checkpoint", "checkpoint_steps", "checkpoint_path", "overwrite_checkpoints", "save_elite", "elite_path"),
        _STORE,
    ),
    **dict.fromkeys(
        ("wandb", "wb", "wandb_api_key", "wandb_kwargs"), "trackers are named by `evolve run --track wandb`"
    ),
    **dict.fromkeys(("tensorboard", "tensorboard_log_dir"), "trackers are named by `evolve run --track tensorboard`"),
    **dict.fromkeys(
        (
            "device",
            "accelerator",
            "verbose",
            "torch_compiler",
            "env_resource_ratio",
            "max_wall_seconds",
            "reporting_interval",
            "evaluation_interval",
        ),
        _OPERATIONAL,
    ),
    **dict.fromkeys(("entrypoint", "factory", "path", "custom", "version", "env_type", "default_type"), _ENVIRONMENT),
    **dict.fromkeys(("mutate_elite",), _ELITE),
    "layer_norm": "only SimBa's blocks are normalized: a normalized layer could not grow without changing its output",
    "output_activation": "heads end in logits and values; network.squash_output squashes actions",
    "normalize_images": "images of bytes are always scaled to [0, 1]",
    "channels_last": "channels of images are found on either side",
    "swap_channels": "channels of images are found on either side",
    "use_rollout_buffer": "there is one kind of rollout here",
    "rollout_buffer_config": "there is one kind of rollout here",
    "bptt_sequence_type": "sequences are whole pieces of episodes, of at most network.encoder.max_seq_len steps",
    "vector_space_mlp": "every leaf of an observation has an encoder of its own",
    "dropout": "recurrent layers have no dropout here",
    "grow_factor": "a gene's step is search.*.step, a fraction of its range",
    "shrink_factor": "a gene's step is search.*.step, a fraction of its range",
    "dtype": "whether a gene is a whole number follows from its name",
    "super_param_mut": "noise of weights has one size, mutation.mutation_sd",
    "regrama_param_mut": "no weights are reset here",
    "dormant_threshold": "no weights are reset here",
    "num_envs": "environment.num_envs counts",
    "latent_dim": "the outputs of all leaf encoders are added up, and have network.latent_dim",
    "min_latent_dim": "the outputs of all leaf encoders are added up, and have network.latent_dim",
    "max_latent_dim": "the outputs of all leaf encoders are added up, and have network.latent_dim",
    "random_seed": "all randomness comes from `seed` (mutation.rand_seed)",
    "pop_size": "training.pop_size counts",
    "api_version": "the version of the manifest's own format",
    "arch": "the encoder follows from the observation, and from what is given of it",
    "name": "a label only",
}


def why_dropped(name: str) -> str:
    """Return why a field, such as algorithm.tau, has no counterpart; unknown fields may be misspelled."""
    for part in reversed(name.split(".")):
        if part.lower() in REASONS:
            return REASONS[part.lower()]
    return "not known to evolve"
