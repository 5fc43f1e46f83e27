"""Random streams of a run, addressed by (generation, member, purpose) and nothing else.

Attempt, process, clock and order of completion never enter, so a member-generation that is run again, elsewhere
or alone, makes the same draws.
"""

from enum import IntEnum

import numpy as np

POPULATION = 2**31 - 1
"""Reserved member number for draws that belong to the whole population."""


class Purpose(IntEnum):
    """Purpose of a stream of random numbers. The values determine results: never renumber them."""

    MUTATE = 1
    TRANSFER = 2
    ENVIRONMENT = 3
    ROLLOUT = 4
    MINIBATCH = 5
    EVALUATE = 6
    SELECT = 7
    CONFIRM = 8
    EVALUATION_ACTIONS = 9
    REPORT = 10
    RESAMPLE = 11
    REPLAY = 12


def stream(seed: int, generation: int, member: int, purpose: Purpose) -> np.random.Generator:
    """Open the stream of one purpose of one member-generation."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(generation, member, int(purpose))))


def environment_seeds(rng: np.random.Generator, count: int) -> list[int]:
    """Draw seeds that every Gymnasium environment accepts (non-negative 31-bit integers)."""
    return [int(value) for value in rng.integers(0, 2**31 - 1, size=count)]
