"""Selectors of plugins: which of the members that finished become parents."""

from collections.abc import Sequence
from operator import index
from typing import Any, Protocol

import numpy as np

from evo_core.config.evolution_sections import SelectionConfig
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import SELECTOR
from evo_core.plugins.loading import PluginError, load
from evo_core.records.chain import Member


class SelectorPlugin(Protocol):
    """A selector of a plugin. Its constructor takes `selection.options` as keyword arguments."""

    def select(
        self, members: Sequence[Member], scores: np.ndarray, count: int, rng: np.random.Generator
    ) -> Sequence[int]:
        """Return the index of a parent for each of `count` places, drawn from `rng` alone.

        `members` are those that finished, with their `scores` [members], all finite; higher is better.
        """
        ...


def choose_by_plugin(
    config: SelectionConfig,
    members: Sequence[Member],
    scores: Sequence[float],
    eligible: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> list[int]:
    """Have a plugin choose parents; PluginError if it raises, or returns what are no indices of its members."""
    plugin: SelectorPlugin = load(SELECTOR, config.method, config.options)
    shown = f"selector {config.method} ({package_of(SELECTOR, config.method) or 'of no installed package'})"
    finished, table = [members[i] for i in eligible], np.array([scores[i] for i in eligible], np.float64)
    try:
        chosen: Any = plugin.select(finished, table, count, rng)
        found = [index(each) for each in chosen]
    except Exception as error:  # plugins raise any exception
        raise PluginError(f"{shown}: {type(error).__name__}: {error}") from error
    if len(found) != count or not all(0 <= each < len(finished) for each in found):
        raise PluginError(f"{shown}: expected {count} indices from 0 to {len(finished) - 1}, got {found!r:.200}")
    return [int(eligible[each]) for each in found]
