"""Is an environment deterministic under a seed? Everything that is promised about repeating a run rests on it."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np

from evo_core.envs import VectorEnvs, make_vect_envs
from evo_core.sections import EnvConfig

SEEDS = (1, 2)
"""Two environments side by side: what they share by mistake shows."""


def first_difference(env: EnvConfig, steps: int = 1000) -> str | None:
    """Play the same seeds and actions twice; say where the two differ, None when they never do.

    Raises MemberFailure when the environment breaks.
    """
    for step, (first, second) in enumerate(zip(_play(env, steps), _play(env, steps), strict=True)):
        for name, a, b in zip(("observations", "rewards", "terminated", "truncated"), first, second, strict=True):
            if not np.array_equal(a, b):
                return f"step {step}: {name} {a.tolist()} the first time, {b.tolist()} the second time"
    return None


def _play(env: EnvConfig, steps: int) -> Iterator[tuple[np.ndarray, ...]]:
    envs: VectorEnvs = make_vect_envs(env, SEEDS)
    actions: Any = deepcopy(envs.spaces.action)  # environments of one class may share theirs
    actions.seed(0)
    try:
        nothing = np.zeros(len(SEEDS))
        yield envs.observations.copy(), nothing, nothing, nothing
        for _ in range(steps):
            transition = envs.step([actions.sample() for _ in SEEDS])
            yield envs.observations.copy(), transition.rewards, transition.terminated, transition.truncated
    finally:
        envs.close()
