"""Runs without training: fitness follows a rule, so that the right result of an analysis is known."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
from gymnasium import spaces

from evo_core.config.run_config import RunConfig
from evo_core.evolution.population import create_population, next_generation
from evo_core.records.chain import (
    BlobRef,
    Confirmation,
    Evaluation,
    Failure,
    Generation,
    Member,
    Offspring,
    Training,
    Update,
)
from tasks.runs.run_records import Timing, Timings
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tests.conftest import make_config

Rule = Callable[[Offspring, float, np.random.Generator], float | None]
"""An offspring, its parent's fitness (0 for founders) and a generator in; its fitness out, None if it failed."""

GENES = {
    "lr": {"min": 1e-5, "max": 1e-2, "scale": "log"},
    "gamma": {"min": 0.9, "max": 0.999, "scale": "log1m"},
    "ent_coef": {"min": 1e-4, "max": 0.1, "scale": "log"},
    "clip_coef": {"min": 0.1, "max": 0.4},
    "batch_size": {"min": 16, "max": 128, "scale": "log"},
}


def make_lineage_config(size: int, generations: int, **overrides: object) -> RunConfig:
    """Configure a population with five genes and every kind of mutation."""
    return make_config(
        **{
            "search": GENES,
            "algorithm.ent_coef": 0.01,
            "population.size": size,
            "population.init": "diverse",
            "training.max_steps": size * 256 * generations,
            "mutation": {"no_mutation": 0.4, "rl_hp": 0.4, "architecture": 0.2, "parameters": 0.1, "activation": 0.1},
            **overrides,
        }
    )


def make_commits(config: RunConfig, rule: Rule, seed: int = 0) -> list[Generation]:
    """Run real selection and mutation over members whose fitness the rule decides."""
    rng = np.random.default_rng(seed)
    commits = [create_population(config, spaces.Box(-1.0, 1.0, (4,), np.float32))]
    fitness: dict[str | None, float] = {None: 0.0}
    while commits[-1].generation < config.max_generations:
        members = [_member(config, child, rule(child, fitness[child.parent], rng)) for child in commits[-1].offspring]
        fitness |= {member.uid: member.fitness for member in members if member.fitness is not None}
        commits.append(next_generation(config, commits[-1], members))
    return commits


def store_run(store_url: str, run_id: str, config: RunConfig, commits: Iterable[Generation]) -> RunStore:
    """Write the configuration and the chain of a run."""
    run = RunStore(open_store(store_url), run_id)
    run.create_run(config)
    for commit in commits:
        run.put_commit(commit)
    return run


def store_confirmations(url: str, run_id: str, commits: list[Generation]) -> None:
    """Confirm the last elite and the best, so that a run of these COMMITs is finished."""
    run = RunStore(open_store(url), run_id)
    for elite in (commits[-1].elite, commits[-1].best):
        assert elite is not None
        mean = elite.fitness
        run.put_confirmation(elite, Confirmation(uid=elite.uid, mean=mean, ci95=(mean, mean), episodes=2, steps=2))


def store_lineage(store_url: str, run_id: str, config: RunConfig, commits: list[Generation]) -> None:
    """Write a run as a finished one stands in its store, its members' clocks included; checkpoints excepted."""
    run = store_run(store_url, run_id, config, commits)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for commit in commits:
        clocks: dict[str, dict[str, Timing]] = {"train": {}, "evaluate": {}}
        for number, member in enumerate(commit.members):
            begin = start + timedelta(seconds=10 * (len(commit.members) * commit.generation + number) / 2)
            for phase, seconds in (("train", 8), ("evaluate", 1)):
                end = begin + timedelta(seconds=seconds)
                timing = Timing(start=begin, end=end, host="here", process=number % 2, attempt=1 + (number == 3))
                clocks[phase][member.uid] = timing
                begin = end
        run.put_timings(commit.generation, Timings(**clocks))


def learns_by_lr_and_gamma(offspring: Offspring, before: float, rng: np.random.Generator) -> float:
    """Gain most with lr near 1e-3 and gamma near 0.99; nothing else matters."""
    genes = offspring.genome.hyperparameters
    off = abs(np.log10(genes["lr"]) + 3) + abs(np.log10(1 - genes["gamma"]) + 2)
    return before + 10 - 8 * off + rng.normal(0, 3)


def pays_for_activation(offspring: Offspring, before: float, rng: np.random.Generator) -> float:
    """Add 5 for a mutation of the activation function and nothing for any other."""
    return before + 1 + 5 * (offspring.mutation.kind == "activation") + rng.normal(0, 3)


def _member(config: RunConfig, child: Offspring, fitness: float | None) -> Member:
    steps = config.training.evo_steps
    if fitness is None:
        failure = Failure(reason="nan_loss", step=7)
        return Member(offspring=child, training=Training(uid=child.uid, steps=7, failure=failure), failure=failure)
    blob = BlobRef(sha256=f"{child.generation:032x}{child.index:032x}", size=1)
    curve = tuple(_update(steps // 2, fitness) for _ in range(2))
    training = Training(uid=child.uid, steps=steps, blob=blob, curve=curve)
    evaluation = Evaluation(fitness=fitness, fitness_sem=1.0, episodes=8, steps=80)
    return Member(offspring=child, training=training, evaluation=evaluation)


def _update(steps: int, episode_return: float) -> Update:
    unknown = {name: None for name in Update.model_fields if name not in ("steps", "episodes", "epochs")}
    return Update(**{**unknown, "steps": steps, "episodes": 1, "epochs": 1, "episode_return": episode_return})
