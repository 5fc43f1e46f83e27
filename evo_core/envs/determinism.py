"""Check that an environment is deterministic under a seed, on which reproducibility depends."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np

from evo_core.config.sections import EnvConfig
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.envs.vector_env import VectorEnvs
from evo_core.spaces.observations import take

SEEDS = (1, 2)
"""Seeds of two environments, so that accidentally shared state shows."""


class RandomActions:
    """Draws actions of the space, among those that the environments allow."""

    def __init__(self, envs: VectorEnvs) -> None:
        self.envs = envs
        self._space: Any = deepcopy(envs.spaces.action)  # environments of one class may share theirs
        self._space.seed(0)
        self._rng = np.random.default_rng(0)

    def draw(self) -> Iterable[Any]:
        """Draw one action for each environment."""
        masks, count = self.envs.masks, self.envs.count
        if masks is None:
            return [self._space.sample() for _ in range(count)]
        import torch  # other environments are inspected without

        from evo_core.networks.distributions import make_distribution
        from evo_core.networks.distributions.distribution import masked

        distribution = make_distribution(self._space, squash=False)
        noise = torch.from_numpy(distribution.noise(self._rng, 1, count)[0])
        allowed = masked(torch.zeros_like(noise), torch.from_numpy(masks))
        return distribution.to_env(distribution.sample(allowed, noise).numpy())


def first_difference(env: EnvConfig, steps: int = 1000) -> str | None:
    """Play the same seeds and actions twice; return the first difference, or None.

    Raises MemberFailure when the environment breaks.
    """
    plays = _play(env, steps), _play(env, steps)
    if env.max_instances is not None and env.max_instances < 2 * len(SEEDS):  # one after the other
        plays = iter(list(plays[0])), plays[1]
    for step, (first, second) in enumerate(zip(*plays, strict=True)):
        for name, a in first.items():
            if not np.array_equal(a, second[name]):
                return f"step {step}: {name} {a.tolist()} the first time, {second[name].tolist()} the second time"
    return None


def _play(env: EnvConfig, steps: int) -> Iterator[dict[str, np.ndarray]]:
    envs = SyncEnvs(env, SEEDS[: env.max_instances])
    actions = RandomActions(envs)
    try:
        yield _seen(envs)
        for _ in range(steps):
            made = envs.step(actions.draw())
            yield _seen(envs) | {"rewards": made.rewards, "terminated": made.terminated, "truncated": made.truncated}
    finally:
        envs.close()


def _seen(envs: SyncEnvs) -> dict[str, np.ndarray]:
    masks = {} if envs.masks is None else {"action masks": envs.masks.copy()}
    return take(envs.observations, slice(None)) | masks
