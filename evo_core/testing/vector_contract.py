"""The contract of a plugin's vector backend."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from pydantic import JsonValue

from evo_core.config.sections import EnvConfig
from evo_core.envs.determinism import RandomActions
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.envs.vector_plugins import PluginEnvs

STEPS = 300
SEEDS = (3, 1, 4)


class VectorBackendContract:
    """What every vector backend must do. Set `plugin` to its class, and `env_id` and `kwargs` to an environment that it
    makes, whose episodes end within 300 random steps.
    """

    plugin: ClassVar[type]
    env_id: ClassVar[str] = "CartPole-v1"
    kwargs: ClassVar[Mapping[str, JsonValue]] = {}

    def test_its_observations_and_actions_are_the_environments(self) -> None:
        """Shapes and types of every leaf."""
        with self._made() as envs, self._sync() as single:
            for name, rows in single.observations.items():
                found = envs.observations[name]
                assert (found.shape, found.dtype) == (rows.shape, rows.dtype)
            envs.step(RandomActions(envs).draw())

    def test_the_same_seeds_give_the_same_steps(self) -> None:
        """And other seeds others."""
        one, same, other = self._history(SEEDS), self._history(SEEDS), self._history((7, 8, 9))
        assert all(np.array_equal(*pair) for pair in zip(one, same, strict=True)), "made twice, its steps differ"
        assert not all(np.array_equal(*pair) for pair in zip(one, other, strict=True)), "it ignores its seeds"

    def test_episodes_end_and_begin_again(self) -> None:
        """Each with its last observation, and with its return and length."""
        with self._made() as envs:
            actions, ended = RandomActions(envs), 0
            for _ in range(STEPS):
                made = envs.step(actions.draw())
                over = np.flatnonzero(made.terminated | made.truncated)
                assert set(over.tolist()) == made.final_observations.keys()
                assert (envs.lengths[over] == 0).all() and (envs.ended_lengths[over] > 0).all()
                ended += len(over)
            assert ended, f"no episode ended within {STEPS} random steps"

    def test_it_can_be_closed(self) -> None:
        """And another one made."""
        for _ in range(2):
            with self._made():
                pass

    @contextmanager
    def _made(self, seeds: tuple[int, ...] = SEEDS) -> Iterator[PluginEnvs]:
        name = f"{self.plugin.__module__}:{self.plugin.__qualname__}"
        env = EnvConfig(id=self.env_id, kwargs=dict(self.kwargs), vectorization=name)
        envs = PluginEnvs(env, seeds)
        try:
            yield envs
        finally:
            envs.close()

    @contextmanager
    def _sync(self) -> Iterator[SyncEnvs]:
        envs = SyncEnvs(EnvConfig(id=self.env_id, kwargs=dict(self.kwargs)), SEEDS)
        try:
            yield envs
        finally:
            envs.close()

    def _history(self, seeds: tuple[int, ...]) -> list[np.ndarray]:
        """Return observations, rewards and ends of every step of one environment's random actions."""
        found: list[np.ndarray] = []
        with self._made(seeds) as envs:
            actions = RandomActions(envs)
            found += [rows.copy() for rows in envs.observations.values()]
            for _ in range(STEPS):
                made = envs.step(actions.draw())
                found += [made.rewards, made.terminated, made.truncated]
                found += [rows.copy() for rows in envs.observations.values()]
        return found
