"""Published configurations as candidates beside drawn ones; those that were tuned on the task itself are left out."""

from collections.abc import Iterator

from benchmarks.arena.race import Candidate, Hyperparameters, Race
from evo_core.config.run_config import evolvable_hyperparameters

PUBLISHED: dict[str, Hyperparameters] = {
    "Pendulum": {"lr": 1e-3, "gamma": 0.9, "gae_lambda": 0.95, "ent_coef": 0.0, "clip_coef": 0.2, "vf_coef": 0.5},
    "CartPole": {"lr": 1e-3, "gamma": 0.98, "gae_lambda": 0.8, "ent_coef": 0.0, "clip_coef": 0.2, "vf_coef": 0.5},
    "MountainCarContinuous": {
        "lr": 7.77e-5, "gamma": 0.9999, "gae_lambda": 0.9, "ent_coef": 0.00429, "clip_coef": 0.1, "vf_coef": 0.19,
    },
    "Acrobot": {"lr": 3e-4, "gamma": 0.99, "gae_lambda": 0.94, "ent_coef": 0.0, "clip_coef": 0.2, "vf_coef": 0.5},
    "BipedalWalker": {
        "lr": 3e-4, "gamma": 0.999, "gae_lambda": 0.95, "ent_coef": 0.0, "clip_coef": 0.18, "vf_coef": 0.5,
    },
    "LunarLander": {"lr": 3e-4, "gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01, "clip_coef": 0.2, "vf_coef": 0.5},
    "HalfCheetah": {
        "lr": 2.06e-5, "gamma": 0.98, "gae_lambda": 0.92, "ent_coef": 0.0004, "clip_coef": 0.1, "vf_coef": 0.58,
    },
    "Atari": {"lr": 2.5e-4, "gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.01, "clip_coef": 0.1, "vf_coef": 0.5},
}  # fmt: skip
"""PPO's values in RL Baselines3 Zoo (Raffin 2020), `hyperparams/ppo.yml`, by the environment that they are for."""


def proposals(race: Race, published: bool = True) -> Iterator[Candidate]:
    """Propose untrained candidates without end: published ones in random order, each followed by a drawn one."""
    environment = race.config.env.id.partition("-")[0]
    others = [genes for name, genes in PUBLISHED.items() if name != environment] if published else []
    for index in race.rng.permutation(len(others)):
        yield race.with_genes(race.configured, _within(race, others[index]))
        yield race.draw()
    while True:
        yield race.draw()


def _within(race: Race, genes: Hyperparameters) -> Hyperparameters:
    """Return the configured genes, replaced by published ones where there are any, within their ranges."""
    kinds = evolvable_hyperparameters()
    result: Hyperparameters = {}
    for name, configured in race.configured.hyperparameters.items():
        gene = race.config.search[name]
        value = min(max(float(genes.get(name, configured)), gene.min), gene.max)
        result[name] = round(value) if kinds[name] is int else value
    return result
