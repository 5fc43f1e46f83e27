"""Optuna's TPE (Bergstra et al. 2011) with its HyperbandPruner (Li et al. 2018), as its documentation combines them."""

import numpy as np
import optuna

from benchmarks.arena.race import Hyperparameters, Race
from benchmarks.arena.tasks import Task
from evo_core.config.run_config import evolvable_hyperparameters


def tpe(race: Race, task: Task, runs: int = 4) -> None:
    """Train suggested values from scratch, slice by slice, until the pruner or the end of a whole run stops a trial.

    A trial that was pruned is not resumed. A whole run is 1/`runs` of the budget; the first has the configured values.
    """
    longest = max(1, race.budget // runs // task.slice)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(race.rng.integers(2**31))
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=longest, reduction_factor=3),
    )
    study.enqueue_trial(_positions(race, race.configured.hyperparameters))
    while True:
        _trial(race, task, study, longest)


def _trial(race: Race, task: Task, study: optuna.Study, longest: int) -> None:
    trial = study.ask()
    kinds = evolvable_hyperparameters()
    genes: Hyperparameters = {}
    for name, gene in race.config.search.items():
        value = gene.value(trial.suggest_float(name, 0.0, 1.0))
        genes[name] = round(value) if kinds[name] is int else value
    candidate = race.with_genes(race.configured, genes)
    for step in range(1, longest + 1):
        candidate = race.advance(candidate, task.slice)
        if not np.isfinite(candidate.fitness):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        trial.report(candidate.fitness, step)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, candidate.fitness)


def _positions(race: Race, genes: Hyperparameters) -> dict[str, float]:
    """Return genes in the unit cube, where a log1m scale is uniform for the sampler too."""
    return {name: race.config.search[name].position(value) for name, value in genes.items()}
