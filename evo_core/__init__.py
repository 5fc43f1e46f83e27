"""Evolution of PPO agents as pure functions, usable in a notebook without any service.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evo_core.agent.agent import Agent
    from evo_core.agent.checkpoint import load_agent
    from evo_core.agent.transfer import perturb, transfer
    from evo_core.config.parsing import ConfigError, parse_config
    from evo_core.config.run_config import RunConfig
    from evo_core.envs.backends import make_vect_envs
    from evo_core.envs.inspection import inspect_environment
    from evo_core.evaluation.episodes import evaluate, evaluation_seeds, play_episodes
    from evo_core.evolution.mutation import mutate
    from evo_core.evolution.population import create_population, next_generation
    from evo_core.evolution.selection import select
    from evo_core.genome.genome import algorithm_of
    from evo_core.local import RunResult, train_on_policy
    from evo_core.ppo.learn import learn
    from evo_core.ppo.rollout import collect_rollouts
    from evo_core.seeding import Purpose, environment_seeds, stream
    from evo_core.training import evaluate_member, inherit, train

_HOME = {
    "Agent": "agent.agent",
    "ConfigError": "config.parsing",
    "Purpose": "seeding",
    "RunConfig": "config.run_config",
    "RunResult": "local",
    "algorithm_of": "genome.genome",
    "collect_rollouts": "ppo.rollout",
    "create_population": "evolution.population",
    "environment_seeds": "seeding",
    "evaluate": "evaluation.episodes",
    "evaluate_member": "training",
    "evaluation_seeds": "evaluation.episodes",
    "inherit": "training",
    "inspect_environment": "envs.inspection",
    "learn": "ppo.learn",
    "load_agent": "agent.checkpoint",
    "make_vect_envs": "envs.backends",
    "mutate": "evolution.mutation",
    "next_generation": "evolution.population",
    "parse_config": "config.parsing",
    "perturb": "agent.transfer",
    "play_episodes": "evaluation.episodes",
    "select": "evolution.selection",
    "stream": "seeding",
    "train": "training",
    "train_on_policy": "local",
    "transfer": "agent.transfer",
}

__all__ = [
    "Agent",
    "ConfigError",
    "Purpose",
    "RunConfig",
    "RunResult",
    "algorithm_of",
    "collect_rollouts",
    "create_population",
    "environment_seeds",
    "evaluate",
    "evaluate_member",
    "evaluation_seeds",
    "inherit",
    "inspect_environment",
    "learn",
    "load_agent",
    "make_vect_envs",
    "mutate",
    "next_generation",
    "parse_config",
    "perturb",
    "play_episodes",
    "select",
    "stream",
    "train",
    "train_on_policy",
    "transfer",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"evo_core.{_HOME[name]}"), name)
    raise AttributeError(f"evo_core has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
