"""A member as a trial of the study: its parameters and attributes."""

import json

from evo_core.genome.genome import Genome, sizes
from evo_core.records.chain import Member


def parameters(genome: Genome) -> dict[str, float | int | str]:
    """Return a genome as Optuna parameters: its genes, and the depth and number of nodes of each part."""
    return {**genome.hyperparameters, **sizes(genome), "activation": genome.activation}


def attributes(member: Member) -> dict[str, object]:
    """Return a member's trial attributes: its identity, origin and results."""
    offspring, training, evaluation = member.offspring, member.training, member.evaluation
    mean_return = evaluation.other_mean_return if evaluation else None
    return {
        "uid": member.uid,
        "generation": offspring.generation,
        "member": offspring.index,
        "parent": offspring.parent,
        "mutation": offspring.mutation.kind,
        "mutation_what": offspring.mutation.what,
        "mutation_from": offspring.mutation.before,
        "mutation_to": offspring.mutation.after,
        "genome": json.loads(offspring.genome.model_dump_json()),
        "train_steps": training.steps,
        "lineage_steps": offspring.lineage_steps + training.steps,
        "output_shift": training.output_shift,
        "fitness_sem": evaluation.fitness_sem if evaluation else None,
        "episodes": evaluation.episodes if evaluation else 0,
        "eval_steps": evaluation.steps if evaluation else 0,
        "checkpoint": training.blob.sha256 if training.blob else None,
        "failure": member.failure.reason if member.failure else None,
        **({"archived": True} if offspring.archived else {}),
        **({} if mean_return is None else {"mean_return": mean_return}),
    }
