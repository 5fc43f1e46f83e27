"""A run without learning: milliseconds per member, with the same tasks as a real run.

`fake_trainer` replaces training, evaluation and confirmation by functions whose results depend on exactly the same
inputs: the seed, the place in the run, the genome and the parent's bytes.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from gymnasium.spaces import Box, Discrete

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.confirmation import Chunk, chunk_count, confirmation
from evo_core.evaluation.run_end import find_ending
from evo_core.records.canonical import canonical_json, sha256
from evo_core.records.chain import (
    BlobRef,
    Confirmation,
    EliteRef,
    Evaluation,
    Generation,
    Member,
    ObjectiveValue,
    Training,
)
from evo_core.spaces.spaces import Spaces
from tasks.generation_tasks import create_first_population, release_checkpoints, select_and_mutate
from tasks.member_tasks import Evaluated, confirm_chunk, evaluate_member, train_member
from tasks.runs import layout
from tasks.runs.ref import RunRef
from tasks.worker import cache as recent
from tests.conftest import make_config

SPACES = Spaces(Box(-1.0, 1.0, (4,)), Discrete(2))


def fake_config(generations: int = 3, **overrides: object) -> RunConfig:
    """Population 4, three generations unless told otherwise."""
    steps = {"population.size": 4, "training.max_steps": 4 * 256 * generations}
    return make_config(**{**steps, **overrides})


def train(config, offspring, parent, spaces, device="cpu", on_update=lambda update: None, on_failure=None):
    """Compute a checkpoint from all inputs of a real one; an archived offspring has its parent's."""
    if offspring.archived:
        return parent, Training(uid=offspring.uid, steps=0, blob=offspring.parent_blob)
    origin = {"seed": config.seed, "uid": offspring.uid, "genome": sha256(canonical_json(offspring.genome))}
    blob = canonical_json({**origin, "parent": sha256(parent) if parent is not None else None}) * 8
    reference = BlobRef(sha256=sha256(blob), size=len(blob))
    return blob, Training(uid=offspring.uid, steps=config.training.evo_steps, blob=reference)


def evaluate(config, offspring, training, blob, spaces, device="cpu", on_failure=None):
    """Compute a fitness from the checkpoint; for an archived one, from the generation's seeds as well."""
    played = blob + offspring.uid.encode() if offspring.archived else blob
    fitness = int(sha256(played)[:8], 16) / 2**32 * 100
    objectives = tuple(
        ObjectiveValue(name=one.title, value=int(sha256(played)[n * 2 : n * 2 + 2], 16))
        for n, one in enumerate(config.evaluation.objectives, start=4)
    )
    evaluation = Evaluation(fitness=fitness, fitness_sem=1.0, episodes=2, steps=20, objectives=objectives)
    return Member(offspring=offspring, training=training, evaluation=evaluation)


def play_chunk(config, elite, blob, spaces, chunk, device="cpu", on_failure=None):
    """Compute returns from the checkpoint."""
    values = [int(sha256(blob)[i : i + 4], 16) / 655.36 for i in range(chunk, chunk + 4)]
    return Chunk(values, 40, values, [values[:1] * (len(config.evaluation.episode_objectives) - 1)] * len(values))


class _Environment:
    spaces = SPACES


@contextmanager
def fake_trainer() -> Iterator[None]:
    """Train nothing while the body runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.member_tasks.train", train)
        patch.setattr("tasks.member_tasks.evaluate_offspring", evaluate)
        patch.setattr("tasks.member_tasks.play_chunk", play_chunk)
        patch.setattr(
            recent.checkpoints, "get", lambda sha256: None
        )  # every checkpoint comes from the store, as on other workers
        patch.setattr(
            "evo_core.envs.inspection.inspect_environment", lambda config, packages, plugins=True: _Environment
        )
        patch.setattr("tasks.runs.recomputation.train", train)
        patch.setattr("tasks.runs.recomputation.evaluate_member", evaluate)
        patch.setattr("tasks.runs.repair.play_chunk", play_chunk)
        yield


def run_member(run: RunRef, generation: int, index: int) -> Evaluated:
    """Train and evaluate one member of the generation that follows a COMMIT."""
    offspring = run.open().commit(generation - 1).offspring[index]
    return evaluate_member.fn(run, offspring, train_member.fn(run, offspring))


def run_generation(run: RunRef, head: Generation, order: random.Random | None = None) -> Generation:
    """Make the next COMMIT as flows/generation.py does, one member after the other, in any order."""
    with run.open().in_place():
        if (existing := run.open().find(layout.commit(head.generation + 1), Generation)) is not None:
            return existing
        indices = list(range(len(head.offspring)))
        if order is not None:
            order.shuffle(indices)
        results = {index: run_member(run, head.generation + 1, index) for index in indices}
        return select_and_mutate.fn(run, head, [results[index] for index in sorted(results)])


def confirm_elite(run: RunRef, elite: EliteRef) -> Confirmation:
    """Confirm an elite as flows/confirm_elite.py does; a stored score is taken as it is."""
    store = run.open()
    record = store.confirmation(elite)
    if record is None:
        chunks = [confirm_chunk.fn(run, elite, chunk).chunk for chunk in range(chunk_count(run.config))]
        record = confirmation(run.config, elite, chunks)
        store.put_confirmation(elite, record)
    return record


def evolve(
    run: RunRef, order: random.Random | None = None, keep_generations: int | None = None, spaces: Spaces = SPACES
) -> Generation:
    """Run to the end, or from wherever the store is, as flows/evolve.py does."""
    store = run.open()
    begins = not store.exists("run.json")
    if begins:
        store.store.prepare("")
    store.store.probe()
    if begins:
        store.create_run(run.config)
    confirm = partial(confirm_elite, run)
    head = store.head() or create_first_population.fn(run, spaces)
    while find_ending(run.config, head, confirm) is None:
        head = run_generation(run, head, order)
        if keep_generations:
            release_checkpoints.fn(run, head, keep_generations)
    confirm(head.elite)
    return head
