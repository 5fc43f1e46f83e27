"""Metrics of members and generations that trackers show, by name."""

import re
from collections.abc import Mapping

from evo_core.config.run_config import RunConfig
from evo_core.genome.genome import sizes
from evo_core.records.chain import Generation, Member, Update
from tasks.views.trial_values import attributes

Measures = dict[str, float]
"""Metrics by name; unknown ones are left out."""

LINEAGE = (
    *("uid", "generation", "member", "parent", "mutation", "mutation_what", "mutation_from", "mutation_to"),
    *("lineage_steps", "train_steps", "checkpoint", "failure"),
)
"""Columns of the family tree."""

_LEARNING = tuple(name for name in Update.model_fields if name != "steps")


def lineage_row(member: Member) -> dict[str, object]:
    """Return a member's row of the family tree, with its fitness."""
    described = attributes(member)
    return {**{name: described[name] for name in LINEAGE}, "fitness": member.fitness}


def member_columns(member: Member) -> dict[str, float | None]:
    """Return a member's metrics, with the same names for every member of a run; None where a value is unknown.

    Those under `training/` are from the generation's last update.
    """
    training, evaluation, genome = member.training, member.evaluation, member.offspring.genome
    last = training.curve[-1] if training.curve else None
    return {
        "fitness": member.fitness,
        "fitness_sem": evaluation.fitness_sem if evaluation else None,
        "mean_return": evaluation.mean_return if evaluation else None,
        **objective_columns(member),
        "episodes": evaluation.episodes if evaluation else 0,
        "eval_steps": evaluation.steps if evaluation else 0,
        "output_shift": training.output_shift,
        "failed": int(member.failure is not None),
        **{f"training/{name}": getattr(last, name) if last else None for name in _LEARNING},
        **{f"hyperparameters/{name}": value for name, value in genome.hyperparameters.items()},
        **{f"sizes/{name}": value for name, value in sizes(genome).items()},
    }


def objective_columns(member: Member) -> dict[str, float]:
    """Return the values of a member's further objectives, by names that every tracker takes."""
    objectives = member.evaluation.objectives if member.evaluation else ()
    return {f"objectives/{re.sub(r'[^A-Za-z0-9_. -]', '', one.name)}": one.value for one in objectives}


def member_measures(member: Member) -> Measures:
    """Return a member's known metrics; its generation is last."""
    return {**_known(member_columns(member)), "generation": member.offspring.generation}


def generation_measures(commit: Generation, config: RunConfig) -> Measures:
    """Return a generation's known metrics; its number is last."""
    best = commit.fittest(config.evaluation.objective.sign)
    finished = [member.fitness for member in commit.members if member.fitness is not None]
    return _known(
        {
            "best_fitness": commit.elite.fitness if commit.elite else None,
            "best_fitness_so_far": best.fitness if best else None,
            "mean_fitness": sum(finished) / len(finished) if finished else None,
            "failed": len(commit.members) - len(finished),
            "eval_steps": commit.eval_steps,
            "generation": commit.generation,
        }
    )


def member_steps(member: Member) -> int:
    """Return the environment steps that a member's weights have been trained for: the x axis of its series."""
    return member.offspring.lineage_steps + member.training.steps


def flat_config(config: RunConfig) -> dict[str, object]:
    """Return the configuration's fields by their dotted names."""
    return dict(_flatten(config.model_dump(mode="json")))


def _flatten(value: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key, item in value.items():
        pairs += _flatten(item, f"{prefix}{key}.") if isinstance(item, Mapping) and item else [(f"{prefix}{key}", item)]
    return pairs


def _known(values: Mapping[str, float | None]) -> Measures:
    return {name: value for name, value in values.items() if value is not None}
