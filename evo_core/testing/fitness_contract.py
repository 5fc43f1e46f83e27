"""The contract of a plugin's fitness function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from evo_core.agent.agent import Agent, initial_state
from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.episode_measures import Episode
from evo_core.evaluation.episodes import evaluate
from evo_core.genome.genome import initial_genome

EPISODES = 4


class FitnessContract:
    """What every fitness function must do. Set `plugin` to the function, as `staticmethod(…)`, and `env_id` to an
    environment on which it measures; `overrides` of the configuration by dotted name.

    `packages`: what may be imported for an environment named package.module:Id.
    """

    plugin: ClassVar[Callable[[Episode], Any]]
    env_id: ClassVar[str] = "CartPole-v1"
    overrides: ClassVar[Mapping[str, object]] = {}
    packages: ClassVar[Sequence[str]] = ()

    def test_it_measures_episodes_of_an_agent(self) -> None:
        """Every episode has a finite number, and the same one again."""
        config, agent = self._agent()
        one, again = (evaluate(agent, config, range(EPISODES)) for _ in range(2))
        assert np.isfinite(one.fitness)
        assert one == again, "measured twice, the same episodes have another fitness"

    def test_it_measures_an_episode_of_one_step(self) -> None:
        """Ended by the environment, or by a time limit; of any reward."""
        for terminated in (False, True):
            for reward in (0.0, -1.0, 1e6):
                assert np.isfinite(float(type(self).plugin(_episode([reward], terminated))))

    def test_it_changes_nothing(self) -> None:
        """Neither the episode, nor what it says of the next one."""
        function, first, second = type(self).plugin, _episode([1.0, 2.0, 3.0], True), _episode([-5.0], False)
        before = float(function(first))
        function(second)
        assert float(function(first)) == before, "it remembers other episodes"
        assert first.rewards.tolist() == [1.0, 2.0, 3.0], "it changed the rewards that it was given"

    def _agent(self) -> tuple[RunConfig, Agent]:
        function = type(self).plugin
        name = f"{function.__module__}:{function.__qualname__}"
        sections = {"env": {"id": self.env_id}, "training": {"max_steps": 10**6}}
        config = parse_config(sections, {**self.overrides, "evaluation.fitness": name, "evaluation.episodes": EPISODES})
        spaces = inspect_environment(config, (*self.packages, function.__module__)).spaces
        genome = initial_genome(config, spaces.observation)
        return config, Agent(initial_state(genome, spaces, 1.0, np.random.default_rng(0)), spaces)


def _episode(rewards: list[float], terminated: bool) -> Episode:
    table = np.array(rewards)
    discounted = float(table @ 0.99 ** np.arange(len(table)))
    return Episode(
        rewards=table,
        total=float(table.sum()),
        length=len(table),
        terminated=terminated,
        info={},
        discounted_return=discounted,
        numbers={},
    )
