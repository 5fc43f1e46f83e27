"""A trial of a rule that is not part of the product: few lines as long as they rise, more once all have stalled.

As a restart with a larger population does for CMA-ES (Auger and Hansen 2005): the population is as small as progress
allows. A single line spends its steps as a single agent would; a line that does not learn makes room for others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.arena.portfolio import proposals
from benchmarks.arena.race import Candidate, Race
from benchmarks.arena.tasks import Task
from evo_core.evolution.mutation import NONE, mutate_rl_hp
from evo_core.evolution.population import create_population, elite_ref
from evo_core.genome.genome import Genome
from evo_core.local import Blobs, run_member
from evo_core.records.chain import Generation, Member, Mutation, Offspring, uid


@dataclass(frozen=True, slots=True)
class Rule:
    """How lines are judged: a line rises if it gained `errors` standard errors in its last `patience` generations.

    The gain is that of the returns in training, of which there are several times as many as in evaluation. New lines
    have drawn genes, or published ones in turn with drawn ones, or are children of the best line.
    """

    first: int = 1
    most: int = 4
    patience: int = 2
    errors: float = 1.0
    published: bool = False


def widening(race: Race, task: Task, rule: Rule = Rule()) -> None:
    """Train the configured values; widen to twice as many lines whenever all have stalled; go on with what rises."""
    config, blobs, others = race.config, Blobs(), proposals(race, rule.published)
    commit = create_population(config, race.spaces.observation)
    founders = [commit.offspring[0], *(_founder(1, index, next(others).genome) for index in range(1, rule.first))]
    commit = commit.model_copy(update={"offspring": tuple(founders)})
    while True:
        members: list[Member] = []
        for offspring in commit.offspring:
            race.require_budget()
            member = run_member(config, offspring, blobs, race.spaces)
            members.append(member)
            race.count(member.training.steps, member.evaluation.steps if member.evaluation else 0)
            if member.evaluation is not None and member.training.blob is not None:
                race.consider(member.uid, blobs[member.training.blob.sha256], member.evaluation)
        commit = _bred(race, commit, members, rule, others)
        kept = {offspring.parent_blob.sha256 for offspring in commit.offspring if offspring.parent_blob}
        blobs = {name: blob for name, blob in blobs.items() if name in kept}


def _bred(
    race: Race, previous: Generation, members: list[Member], rule: Rule, others: Iterator[Candidate]
) -> Generation:
    """Return the next generation: the best riser and the best line; or these with new lines when none rises."""
    generation = previous.generation + 1
    finished = [member for member in members if member.evaluation is not None]
    risers = [member for member in finished if _rises(member, rule)]
    young = [member for member in finished if len(member.offspring.ancestor_fitness) < rule.patience]
    lines = _best(finished)
    if risers:
        lines += [member for member in _best(risers) if member not in lines]
    else:
        lines += [member for member in young if member not in lines]
    offspring = [_continued(generation + 1, index, member, rule) for index, member in enumerate(lines)]
    stalled = not risers and not [member for member in young if member in lines]
    if stalled:
        size = min(rule.most, max(2, 2 * len(members)))
        for index in range(len(offspring), size):
            if lines and index % 2 == 0:
                genome, mutation = mutate_rl_hp(lines[0].offspring.genome, race.config, race.rng)
                offspring.append(_continued(generation + 1, index, lines[0], rule, genome, mutation))
            else:
                offspring.append(_founder(generation + 1, index, next(others).genome))
    return Generation(
        generation=generation,
        previous=previous.sha256,
        members=tuple(members),
        elite=elite_ref(lines[0]) if lines else None,
        offspring=tuple(offspring),
    )


def _rises(member: Member, rule: Rule) -> bool:
    now, error = _trained(member)
    history = (*member.offspring.ancestor_fitness, now)
    return len(history) > rule.patience and now - history[-1 - rule.patience] > rule.errors * np.sqrt(2) * error


def _trained(member: Member) -> tuple[float, float]:
    """Return the mean return of a generation's training episodes, and about its standard error.

    Fitness takes their place where no episode ended.
    """
    assert member.evaluation is not None
    fitness, error = member.evaluation.fitness, member.evaluation.fitness_sem or 0.0
    updates = [update for update in member.training.curve if update.episode_return is not None]
    count = sum(update.episodes for update in updates)
    if not count:
        return fitness, error
    total = sum(update.episodes * (update.episode_return or 0.0) for update in updates)
    return total / count, error * float(np.sqrt(member.evaluation.episodes / count))


def _best(members: list[Member]) -> list[Member]:
    """Return the member of highest fitness, if there is one."""
    return sorted(members, key=lambda member: -np.inf if member.fitness is None else member.fitness)[-1:]


def _continued(
    generation: int, index: int, parent: Member, rule: Rule, genome: Genome | None = None, mutation: Mutation = NONE
) -> Offspring:
    history = (*parent.offspring.ancestor_fitness, _trained(parent)[0])
    return Offspring(
        uid=uid(generation, index),
        generation=generation,
        index=index,
        parent=parent.uid,
        parent_blob=parent.training.blob,
        genome=genome or parent.offspring.genome,
        mutation=mutation,
        ancestor_fitness=history[-rule.patience :],
        lineage_steps=parent.offspring.lineage_steps + parent.training.steps,
    )


def _founder(generation: int, index: int, genome: Genome) -> Offspring:
    return Offspring(
        uid=uid(generation, index),
        generation=generation,
        index=index,
        parent=None,
        parent_blob=None,
        genome=genome,
        mutation=NONE,
    )
