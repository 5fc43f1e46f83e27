"""Populations: creation of the founders, and the step from one generation to the next."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gymnasium import Space

from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.evolution.adaptive_size import choose_lines, progress
from evo_core.evolution.fronts import choose_from_front, extend_front, score_members
from evo_core.evolution.mutation import NONE, mutate
from evo_core.evolution.selection import first_slots, is_better, select, selection_score, unmutated_slots
from evo_core.evolution.selector_plugins import choose_by_plugin
from evo_core.genome.genome import Genome, initial_genome
from evo_core.plugins.kinds import SELECTOR
from evo_core.records.chain import (
    Draw,
    EliteRef,
    FailureDetail,
    Generation,
    Member,
    Offspring,
    config_hash,
    uid,
)
from evo_core.records.failures import GenerationFailed
from evo_core.seeding import POPULATION, Purpose, stream

QUOTED = 3
"""Maximum number of different faults quoted in the message of a failed generation."""


def create_population(config: RunConfig, observation_space: Space[Any]) -> Generation:
    """Create COMMIT 0, the founders.

    The first founder is the configuration as given. `identical`: the others are one mutation away from it.
    `diverse`: the others' genes fill their ranges evenly.
    """
    founders = []
    base = initial_genome(config, observation_space)
    diverse = _diverse_genomes(base, config) if config.population.init == "diverse" else []
    for index in range(config.population.size_of(1)):
        genome, mutation = base, NONE
        if index and diverse:
            genome = diverse[index - 1]
        elif index:
            genome, mutation = mutate(base, config, stream(config.seed, 0, index, Purpose.MUTATE))
        founders.append(
            Offspring(
                uid=uid(1, index),
                generation=1,
                index=index,
                parent=None,
                parent_blob=None,
                genome=genome,
                mutation=mutation,
            )
        )
    return Generation(generation=0, previous=config_hash(config), offspring=tuple(founders))


def next_generation(config: RunConfig, previous: Generation, members: Sequence[Member]) -> Generation:
    """Create COMMIT g from COMMIT g - 1 and the members of generation g: select parents and mutate offspring.

    Raises GenerationFailed when fewer than the required survivors finished.
    """
    generation = previous.generation + 1
    require_survivors(config, generation, members)
    draw, unmutated = _choose_parents(config, generation, members)
    offspring = [
        _founder(config, generation + 1, index, members[draw.elite])
        if parent is None
        else _offspring(config, generation + 1, index, members[parent], keep=index in unmutated)
        for index, parent in enumerate(draw.parents)
    ]
    for entry in draw.archive:
        offspring.append(_offspring(config, generation + 1, len(offspring), members[entry], keep=True, archived=True))
    elite = elite_ref(members[draw.elite])
    front = _extended_front(config, previous, members) if config.evaluation.objectives else []
    return Generation(
        generation=generation,
        previous=previous.sha256,
        members=tuple(members),
        draw=draw,
        elite=elite,
        best=_best(config, previous.best, elite, front),
        front=tuple(front),
        offspring=tuple(offspring),
        train_steps=previous.train_steps + sum(member.training.steps for member in members),
        eval_steps=previous.eval_steps + sum(member.evaluation.steps for member in members if member.evaluation),
    )


def _choose_parents(config: RunConfig, generation: int, members: Sequence[Member]) -> tuple[Draw, set[int]]:
    """Return the draw of a generation, and the slots whose offspring is its parent unmutated."""
    selection, objective = config.selection, config.evaluation.objective
    rng, luck = (stream(config.seed, generation, POPULATION, why) for why in (Purpose.SELECT, Purpose.RESAMPLE))
    if config.evaluation.objectives:
        scores = score_members(members, config.evaluation, selection.fitness_window)
    else:
        scores = [selection_score(member, selection.fitness_window, objective.sign) for member in members]
    if config.population.sizing == "adaptive":
        draw = choose_lines(members, scores, config.population, rng)
        return draw, first_slots(draw)
    slots, size = config.population.size_of(generation), config.population.size_of(generation + 1)
    warming_up = generation <= selection.warm_up
    replaces = partial(is_better, members, selection.margin, objective, luck)
    choose = None if selection.method in SELECTOR.own else partial(choose_by_plugin, selection, members, scores)
    draw = select(scores, size, selection, rng, warming_up=warming_up, slots=slots, replaces=replaces, choose=choose)
    return draw, unmutated_slots(draw, selection, warming_up=warming_up, slots=slots)


def _best(config: RunConfig, before: EliteRef | None, elite: EliteRef, front: Sequence[EliteRef]) -> EliteRef:
    """Return the best elite so far; with further objectives the one of the front that is delivered."""
    if front:
        return choose_from_front(front, config.evaluation, config.evaluation.deliver)
    if before is None or config.evaluation.objective.better(elite.fitness, before.fitness):
        return elite
    return before


def _extended_front(config: RunConfig, previous: Generation, members: Sequence[Member]) -> list[EliteRef]:
    """Return the front with a generation's members; archived ones were judged in the generation that trained them."""
    finished = [one for one in members if one.evaluation is not None and not one.offspring.archived]
    return extend_front(previous.front, [elite_ref(member) for member in finished], config.evaluation)


def elite_ref(member: Member) -> EliteRef:
    """Return a reference to a member that finished."""
    assert member.evaluation is not None and member.training.blob is not None
    return EliteRef(
        uid=member.uid,
        generation=member.offspring.generation,
        fitness=member.evaluation.fitness,
        fitness_sem=member.evaluation.fitness_sem,
        episodes=member.evaluation.episodes,
        blob=member.training.blob,
        objectives=member.evaluation.objectives,
    )


def require_survivors(
    config: RunConfig, generation: int, members: Sequence[Member], details: Mapping[str, FailureDetail] | None = None
) -> None:
    """Raise GenerationFailed when fewer members finished than the configuration asks for.

    `details` hold what failures said, by uid.
    """
    trained = [member for member in members if not member.offspring.archived]
    failed = [member for member in trained if member.failure is not None]
    finished, needed = len(trained) - len(failed), config.population.required_survivors(len(trained))
    if finished < needed:
        reasons = ", ".join(
            f"{m.uid}: {m.failure.reason} at step {m.failure.step}" for m in failed if m.failure is not None
        )
        raise GenerationFailed(
            f"generation {generation}: {finished} of {len(trained)} members finished, population.min_survivors asks "
            f"for {needed}; generation {generation - 1} stands. Failed: {reasons}{_quoted(details or {})}"
        )


def _quoted(details: Mapping[str, FailureDetail]) -> str:
    """Quote what failures said, each fault once with the first member that had it."""
    first = {detail.cause: f"{uid}: {detail.sentence}" for uid, detail in reversed(list(details.items()))}
    frames = {detail.cause: f", at {detail.frames[-1]}" for detail in details.values() if detail.frames}
    quotes = [f". {first[cause]}{frames.get(cause, '')}" for cause in reversed(first)]
    more = f". {len(quotes) - QUOTED} other faults are in the log" if len(quotes) > QUOTED else ""
    return "".join(quotes[:QUOTED]) + more


def _offspring(
    config: RunConfig, generation: int, index: int, parent: Member, *, keep: bool, archived: bool = False
) -> Offspring:
    genome, mutation = parent.offspring.genome, NONE
    if not keep:
        genome, mutation = mutate(genome, config, stream(config.seed, generation - 1, index, Purpose.MUTATE))
    assert parent.evaluation is not None
    history = (*parent.offspring.ancestor_fitness, parent.evaluation.fitness)
    objectives = tuple(one.value for one in parent.evaluation.objectives)
    others = (*parent.offspring.ancestor_objectives, objectives)
    window = config.selection.fitness_window - 1
    returns: tuple[float, ...] = ()
    if config.population.sizing == "adaptive":
        returns = (*parent.offspring.ancestor_progress, progress(parent)[0])[-config.population.patience :]
    return Offspring(
        uid=uid(generation, index),
        generation=generation,
        index=index,
        parent=parent.uid,
        parent_blob=parent.training.blob,
        genome=genome,
        mutation=mutation,
        ancestor_fitness=history[-window:] if window else (),
        ancestor_objectives=others[-window:] if window and parent.evaluation.objectives else (),
        lineage_steps=parent.offspring.lineage_steps + parent.training.steps,
        ancestor_progress=returns,
        archived=archived,
    )


def _founder(config: RunConfig, generation: int, index: int, elite: Member) -> Offspring:
    """Return a new line: fresh weights for the elite's network, and drawn genes."""
    rng, kinds = stream(config.seed, generation - 1, index, Purpose.MUTATE), evolvable_hyperparameters()
    genes = {name: gene.sample(rng, integer=kinds[name] is int) for name, gene in sorted(config.search.items())}
    return Offspring(
        uid=uid(generation, index),
        generation=generation,
        index=index,
        parent=None,
        parent_blob=None,
        genome=elite.offspring.genome.model_copy(update={"hyperparameters": genes}),
        mutation=NONE,
    )


def _diverse_genomes(base: Genome, config: RunConfig) -> list[Genome]:
    """Place the genes of all founders but the first on scrambled Sobol points, on each gene's own scale.

    Few random points leave large parts of several ranges empty (Bergstra and Bengio 2012, "Random Search for
    Hyper-Parameter Optimization", section 5). PyTorch's points, because its version is part of the numerics.
    """
    import torch  # checking runs whose founders are not diverse does without

    names, kinds = sorted(config.search), evolvable_hyperparameters()
    seed = int(stream(config.seed, 0, POPULATION, Purpose.MUTATE).integers(2**31))
    engine = torch.quasirandom.SobolEngine(len(names), scramble=True, seed=seed)
    genomes = []
    for point in engine.draw(config.population.size_of(1), dtype=torch.float64)[:-1].tolist():
        genes = {
            name: config.search[name].at(position, integer=kinds[name] is int)
            for name, position in zip(names, point, strict=True)
        }
        genomes.append(base.model_copy(update={"hyperparameters": genes}))
    return genomes
