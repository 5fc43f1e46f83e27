"""Train a fresh agent along a winner's hyperparameter schedule, to test whether the schedule carries over.

Population-based training finds a schedule and an agent at once. Trained again from new weights on new seeds, the
schedule alone must do the work (Jaderberg et al. 2017, "Population Based Training of Neural Networks", section 4).
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.confirmation import chunk_count, confirmation, play_chunk
from evo_core.evolution.mutation import NONE
from evo_core.evolution.population import elite_ref
from evo_core.genome.genome import Genome
from evo_core.records.chain import BlobRef, Failure, Member, Offspring, uid
from evo_core.records.replay_record import Replay, ReplayKind
from evo_core.seeding import POPULATION, Purpose, environment_seeds, stream
from evo_core.spaces.spaces import Spaces
from evo_core.training import evaluate_member, train


def replay_seeds(config: RunConfig, count: int) -> list[int]:
    """Draw the seeds of replays; the first ones stay the same when there are more."""
    return environment_seeds(stream(config.seed, 0, POPULATION, Purpose.REPLAY), count)


def replay(
    config: RunConfig,
    line: Sequence[Member],
    kind: ReplayKind,
    seed: int,
    spaces: Spaces,
    device: torch.device | str = "cpu",
    on_generation: Callable[[Member], None] = lambda member: None,
) -> Replay:
    """Train a fresh agent for as many generations as a line has, and evaluate it on unseen seeds.

    Weight noise is not part of the schedule and is left out; architecture, activation and hyperparameters follow the
    line, with weights and moments transferred as in evolution.
    """
    genomes = [member.offspring.genome for member in line if not member.offspring.archived]
    return replay_genomes(config, line[-1].uid, genomes, kind, seed, spaces, device, on_generation)


def replay_genomes(
    config: RunConfig,
    member: str,
    genomes: Sequence[Genome],
    kind: ReplayKind,
    seed: int,
    spaces: Spaces,
    device: torch.device | str = "cpu",
    on_generation: Callable[[Member], None] = lambda member: None,
) -> Replay:
    """Train a fresh agent for a generation with each genome in turn, or, of kind `fixed`, with the last one throughout.

    `member` is the name of the member whose schedule it is.
    """
    genomes = [genomes[-1]] * len(genomes) if kind == "fixed" else genomes
    again = config.model_copy(update={"seed": seed})
    members: list[Member] = []
    content: bytes | None = None
    for offspring in _offspring(genomes, members):
        content, training = train(again, offspring, content, spaces, device)
        members.append(evaluate_member(again, offspring, training, content, spaces, device))
        on_generation(members[-1])
    done = [member for member in members if member.fitness is not None]
    record = Replay(
        uid=member,
        kind=kind,
        seed=seed,
        steps=tuple(member.offspring.lineage_steps + member.training.steps for member in done),
        fitness=tuple(member.fitness for member in done if member.fitness is not None),
        failure=members[-1].failure,
    )
    if record.failure is not None or content is None:
        return record
    elite = elite_ref(members[-1])
    chunks = [play_chunk(again, elite, content, spaces, chunk, device) for chunk in range(chunk_count(again))]
    if confirmation(again, elite, chunks) is None:
        return record.model_copy(update={"failure": Failure(reason="environment_error", step=record.steps[-1])})
    return record.model_copy(update={"returns": tuple(value for chunk in chunks if chunk for value in chunk.values)})


def _offspring(genomes: Sequence[Genome], members: Sequence[Member]) -> Iterator[Offspring]:
    """Create each generation's only offspring from the previous member, until one fails."""
    for number, genome in enumerate(genomes):
        before = members[-1] if members else None
        if before is not None and before.failure is not None:
            return
        yield Offspring(
            uid=uid(number + 1, 0),
            generation=number + 1,
            index=0,
            parent=before.uid if before else None,
            parent_blob=_blob(before),
            genome=genome,
            mutation=NONE,
            lineage_steps=before.offspring.lineage_steps + before.training.steps if before else 0,
        )


def _blob(member: Member | None) -> BlobRef | None:
    return member.training.blob if member else None
