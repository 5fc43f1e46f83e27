"""The two phases of a member's generation as Prefect tasks. Both do nothing when their record exists."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from distributed import get_worker
from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from evo_core.confirmation import Chunk, play_chunk
from evo_core.networks.actor_critic import Spaces
from evo_core.records import BlobRef, EliteRef, Member, Offspring, Training, Update
from evo_core.training import evaluate_member as evaluate_offspring
from evo_core.training import train
from tasks.recomputation import Recomputer
from tasks.records import Timing
from tasks.ref import RunRef
from tasks.run_store import RunStore
from tasks.watchdog import watched

PROGRESS_TOPIC = "evolve-progress"
"""Dask event topic on which workers say how far members are."""


# the store remembers, not Prefect; what is worth another try is tried again by the Store, or by Dask on a new worker
member_task = partial(task, cache_policy=NO_CACHE, persist_result=False)


@member_task(name="train", task_run_name="train g{offspring.generation}/m{offspring.index}")
def train_member(run: RunRef, offspring: Offspring) -> Training:
    """Train an offspring and store its checkpoint and record; both are adopted when they exist.

    A failure is returned and not stored: it counts once enough others have finished.
    """
    store, address = run.open(), (offspring.generation, offspring.index)
    done = store.training(*address)
    if done is not None and not (done.blob and store.missing_blobs([done.blob])):
        return done
    with watched(run.limits, run.session, offspring.uid), _timed(store, offspring, "train"):
        spaces = run.environment().spaces
        parent = _weights(run, store, spaces, offspring.parent, offspring.parent_blob)
        blob, record = train(run.config, offspring, parent, spaces, run.resolve_device(), _progress(offspring))
        if blob is not None:
            store.put_blob(blob)
    if record.failure is None:
        store.put_training(*address, record)
    return record


@member_task(name="evaluate", task_run_name="evaluate g{offspring.generation}/m{offspring.index}")
def evaluate_member(run: RunRef, offspring: Offspring, training: Training) -> Member:
    """Evaluate a trained offspring and store the whole member, unless it failed; adopted when it exists."""
    store, address = run.open(), (offspring.generation, offspring.index)
    done = store.member(*address)
    if done is not None:
        return done
    with watched(run.limits, run.session, offspring.uid), _timed(store, offspring, "evaluate"):
        blob = store.blob(training.blob) if training.blob else None
        spaces = run.environment().spaces
        member = evaluate_offspring(run.config, offspring, training, blob, spaces, run.resolve_device())
    if member.failure is None:
        store.put_member(*address, member)
    return member


@member_task(name="confirm", task_run_name="confirm {elite.uid} {chunk}")
def confirm_chunk(run: RunRef, elite: EliteRef, chunk: int) -> Chunk | None:
    """Play one chunk of an elite's confirmation on fresh seeds."""
    with watched(run.limits, run.session, elite.uid):
        spaces = run.environment().spaces
        blob = _weights(run, run.open(), spaces, elite.uid, elite.blob)
        assert blob is not None
        return play_chunk(run.config, elite, blob, spaces, chunk, run.resolve_device())


def _weights(run: RunRef, store: RunStore, spaces: Spaces, uid: str | None, reference: BlobRef | None) -> bytes | None:
    """Read a checkpoint, or compute it again if it is gone: a collector may have been at work. None for founders."""
    if uid is None or reference is None:
        return None
    return Recomputer(store, run.config, spaces, run.resolve_device()).weights(uid, reference)


def _progress(offspring: Offspring) -> Callable[[Update], None]:
    """Say on Dask's event bus how many steps a member has made; silent outside a Dask worker."""
    try:
        worker = get_worker()
    except ValueError:
        return lambda update: None
    made = 0

    def say(update: Update) -> None:
        nonlocal made
        made += update.steps
        worker.log_event(PROGRESS_TOPIC, {"uid": offspring.uid, "steps": made})

    worker.log_event(PROGRESS_TOPIC, {"uid": offspring.uid, "steps": made})
    return say


@contextmanager
def _timed(store: RunStore, offspring: Offspring, phase: str) -> Iterator[None]:
    """Write when and where the body ran, once it succeeded."""
    start = datetime.now(UTC)
    yield
    timing = Timing(
        start=start,
        end=datetime.now(UTC),
        host=socket.gethostname(),
        process=os.getpid(),
        attempt=runtime.task_run.run_count or 1,
    )
    store.put_timing(offspring.generation, offspring.index, phase, timing)
