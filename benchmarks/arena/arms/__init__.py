"""The arms of the arena. Adding one: a function that takes a race, and a line in `ARMS`."""

from collections.abc import Callable
from functools import partial

from benchmarks.arena.arms.agilerl import RULES, agilerl
from benchmarks.arena.arms.halving import asha
from benchmarks.arena.arms.ours import KL, OURS, evolve
from benchmarks.arena.arms.pb2 import pb2
from benchmarks.arena.arms.pbt import pbt
from benchmarks.arena.arms.restarts import random_search, restarts
from benchmarks.arena.arms.tpe import tpe
from benchmarks.arena.race import Race
from benchmarks.arena.tasks import Described, Task

Arm = Callable[[Race, Task], None]
"""Runs until it raises BudgetSpent."""

ARMS: dict[str, Arm] = {
    "fixed": partial(restarts, runs=2),
    "single": partial(restarts, runs=1),
    "random": partial(random_search, runs=4),
    "random-8": partial(random_search, runs=8),
    "asha": asha,
    "asha-late": partial(asha, first=2),
    "asha-zoo": partial(asha, published=True),
    "pbt": pbt,
    "pbt-4": partial(pbt, size=4),
    "pb2": pb2,
    "agilerl": agilerl,
    "tpe": tpe,
    **dict.fromkeys(OURS, evolve),
    "single-kl": partial(restarts, runs=1),
    "asha-kl": asha,
    "pbt-4-kl": partial(pbt, size=4),
}


OVERRIDES: dict[str, Described] = {
    **OURS,
    "agilerl": RULES,
    "single-kl": KL,
    "asha-kl": KL,
    "pbt-4-kl": KL,
}


def overrides(arm: str) -> Described:
    """Return the part of the configuration that an arm changes: of our own arms, what distinguishes them."""
    return OVERRIDES.get(arm, {})
