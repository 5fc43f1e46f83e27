"""Is an environment deterministic under a seed? Everything that is promised about repeating a run rests on it."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np

from evo_core.envs.sync import SyncEnvs
from evo_core.observations import take
from evo_core.sections import EnvConfig

SEEDS = (1, 2)
"""Two environments side by side: what they share by mistake shows."""


def first_difference(env: EnvConfig, steps: int = 1000) -> str | None:
    """Play the same seeds and actions twice; say where the two differ, None when they never do.

    Raises MemberFailure when the environment breaks.
    """
    for step, (first, second) in enumerate(zip(_play(env, steps), _play(env, steps), strict=True)):
        for name, a in first.items():
            if not np.array_equal(a, second[name]):
                return f"step {step}: {name} {a.tolist()} the first time, {second[name].tolist()} the second time"
    return None


def _play(env: EnvConfig, steps: int) -> Iterator[dict[str, np.ndarray]]:
    envs = SyncEnvs(env, SEEDS)
    actions: Any = deepcopy(envs.spaces.action)  # environments of one class may share theirs
    actions.seed(0)
    try:
        yield _seen(envs)
        for _ in range(steps):
            made = envs.step([actions.sample() for _ in SEEDS])
            yield _seen(envs) | {"rewards": made.rewards, "terminated": made.terminated, "truncated": made.truncated}
    finally:
        envs.close()


def _seen(envs: SyncEnvs) -> dict[str, np.ndarray]:
    masks = {} if envs.masks is None else {"action masks": envs.masks.copy()}
    return take(envs.observations, slice(None)) | masks
