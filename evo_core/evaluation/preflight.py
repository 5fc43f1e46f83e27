"""Check, before a run starts, that its fitness can be measured: on episodes of random actions. Imports no torch."""

from collections.abc import Collection

import numpy as np

from evo_core.config.parsing import ConfigError
from evo_core.config.run_config import RunConfig
from evo_core.envs.determinism import RandomActions
from evo_core.envs.inspection import EnvSpec, check_environment
from evo_core.envs.patience import run_with_timeout
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.envs.vector_env import ignore_warnings
from evo_core.evaluation.episode_measures import MeasureError, find_measure, measure_episodes, recorder_for
from evo_core.records.failures import MemberFailure

STEPS = 1000
"""Most steps that are played; what an episode is worth that has not ended by then is not known before the run."""

SEEDS = (1, 2, 3, 4)
PATIENCE_S = 30.0


def preflight(config: RunConfig, packages: Collection[str] = ()) -> EnvSpec:
    """Inspect environment and fitness: called once, before a run starts. Raises ConfigError."""
    spec = check_environment(config, packages)
    check_fitness(config)
    return spec


def check_fitness(config: RunConfig) -> None:
    """Raise ConfigError when an episode cannot be measured; the environment's packages must have been imported."""
    try:
        for objective in config.evaluation.episode_objectives:
            find_measure(objective)
        if recorder_for(config, 1) is not None:
            with ignore_warnings():
                run_with_timeout(PATIENCE_S, lambda: _play(config))
    except MeasureError as error:
        raise ConfigError([f"{_field_of(error, config)} {error}"]) from error
    except (MemberFailure, TimeoutError):  # members and `evolve doctor` report what the environment does
        return


def _field_of(error: MeasureError, config: RunConfig) -> str:
    """Return the field whose measure an error is about: its message begins with the measure."""
    named = config.evaluation.named_objectives
    fields = [field for field, objective in named if str(error).startswith(f"{objective.measure}: ")]
    return " and ".join(fields) or "evaluation"


def _play(config: RunConfig) -> None:
    left, cut = STEPS, config.evaluation.max_steps
    envs = SyncEnvs(config.env, SEEDS[:1])
    try:
        actions = RandomActions(envs)
        for seed in SEEDS:
            envs.reset([seed])
            recorder = envs.on_values = recorder_for(config, 1)
            total, length, ended = np.zeros(1), 0, False
            while not ended:
                if not left:
                    return
                rewards, over = envs.advance_some([0], actions.draw())
                total, length, left = total + rewards, length + 1, left - 1
                ended = bool(over[0]) or length == cut
            measure_episodes(config.evaluation.episode_objectives, recorder, total, np.array([length]))
    finally:
        envs.close()
