"""Conversion of AgileRL's search ranges (rl_hp_selection, hp_config, MIN_LR and MAX_LR) to genes."""

import math
from collections.abc import Mapping

from evo_core.config.parsing import ConfigError
from evo_core.config.run_config import evolvable_hyperparameters
from evo_core.importers.agilerl.manifest import Manifest, real
from evo_core.importers.agilerl.notes import Notes

DISCOUNTS = ("gamma", "gae_lambda")


def convert_search(
    manifest: Manifest, notes: Notes, algorithm: Mapping[str, object], num_envs: int
) -> dict[str, object]:
    """Convert ranges to genes, each around its initial value."""
    known = evolvable_hyperparameters()
    names = dict.fromkeys(name.partition(".")[0] for name in manifest.below("search."))
    genes: dict[str, object] = {}
    for name in names:
        low, high = (manifest.take(f"search.{name}.{end}") for end in ("min", "max"))
        value = algorithm.get(name)
        if name not in known or not isinstance(value, int | float):
            for given in (low, high):
                if given:
                    notes.drop(given, f"{name} cannot evolve here; choose from {', '.join(sorted(known))}")
            continue
        if low is None or high is None:
            raise ConfigError([f"the range of {name}: expected both a min and a max"])
        bounds = [real(low), real(high)]
        least = num_envs if name == "learn_step" else -math.inf
        wide = [max(min(bounds[0], value), least), max(bounds[1], value)]
        if known[name] is int:
            wide = [math.ceil(wide[0]), math.floor(wide[1])]
        notes.change(
            low,
            f"search.{name}",
            bounds,
            wide,
            f"the initial value {value:g} must lie in the range"
            + (f", and a rollout holds at least one step of all {num_envs} environments" if least > 0 else ""),
        )
        if wide[0] >= wide[1]:
            notes.drop(low, f"a range of one value does not evolve: {name} stays {value:g}")
            continue
        genes[name] = {"min": wide[0], "max": wide[1], "scale": _scale(name, wide)}
    if genes:
        notes.imply(
            "search",
            {name: dict(gene)["scale"] for name, gene in genes.items() if isinstance(gene, dict)},
            "AgileRL multiplies by a factor and clips; here a gene makes a Gaussian step on its own scale and is "
            "reflected at its bounds",
        )
    return genes


def _scale(name: str, bounds: list[float]) -> str:
    """Choose the scale on which AgileRL's factors are steps of one size; discounts have one of their own."""
    if name in DISCOUNTS:
        return "log1m" if bounds[1] < 1 else "linear"
    return "log" if bounds[0] > 0 else "linear"
