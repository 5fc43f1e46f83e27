"""Prefect tasks for the two phases of a member: train and evaluate. Both return at once if their record exists."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

import numpy as np
from distributed import get_worker
from prefect import Task, runtime, task
from prefect.cache_policies import NO_CACHE

from evo_core.evaluation.aggregation import aggregate
from evo_core.evaluation.confirmation import Chunk, play_chunk
from evo_core.records.chain import BlobRef, EliteRef, FailureDetail, Member, Offspring, Training, Update
from evo_core.spaces.spaces import Spaces
from evo_core.training import evaluate_member as evaluate_offspring
from evo_core.training import train
from tasks.logs.redaction import concealed_detail
from tasks.logs.run_failures import fail_with_sentence
from tasks.logs.run_log import log_to_run
from tasks.member_warnings import forward_member_warnings
from tasks.runs import layout
from tasks.runs.failed_members import details
from tasks.runs.recomputation import Recomputer
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Timing
from tasks.runs.run_store import RunStore
from tasks.views.phrases import describe_chunk, describe_evaluation, describe_training
from tasks.worker import cache as recent
from tasks.worker.watchdog import watched


def progress_topic(run_id: str) -> str:
    """Return the Dask event topic on which workers report the progress of a run's members, with their session."""
    return f"evolve-progress-{run_id}"


ADOPTED = "done before: its record is in the store"


# results live in the store, not in Prefect; retries are made by the Store, or by Dask on a new worker
P = ParamSpec("P")
R = TypeVar("R")


def member_task(*, name: str, task_run_name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task; fields in `task_run_name` are its arguments."""
    return task(name=name, task_run_name=task_run_name, cache_policy=NO_CACHE, persist_result=False)


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of training a member.

    `timing` is None if the record was found in the store. `adopted`: the checkpoint, if any, existed already, so a
    garbage collector may delete it; one just created is spared (tasks/runs/retention.py). `numerics`: the numerical
    environment of the process that computed it, this one or the one that stored it. `detail`: details of its failure.
    """

    record: Training
    timing: Timing | None = None
    adopted: bool = True
    numerics: Mapping[str, str] = field(default_factory=dict)
    detail: FailureDetail | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Result of training and evaluating a member; see Trained."""

    member: Member
    trained: Timing | None = None
    evaluated: Timing | None = None
    adopted: bool = True
    numerics: Mapping[str, str] = field(default_factory=dict)
    detail: FailureDetail | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """One chunk of a confirmation, with when, where and under which numerics it was played; see Trained."""

    chunk: Chunk | None
    timing: Timing
    numerics: Mapping[str, str]
    detail: FailureDetail | None = None


@member_task(name="train", task_run_name="train g{offspring.generation}/m{offspring.index}")
@fail_with_sentence
def train_member(run: RunRef, offspring: Offspring) -> Trained:
    """Train an offspring and store its checkpoint and record; adopt both if they exist.

    A failure is returned, not stored: it counts only once enough other members have finished.
    """
    store, address = run.open(), (offspring.generation, offspring.index)
    done = store.training(*address)
    if done is not None and not (done.blob and store.missing_blobs([done.blob])):
        log_to_run(ADOPTED)
        return Trained(done, numerics=store.numerics_of(layout.training(*address), Training))
    store.require_in_place(allow_cached=True)  # avoid hours of work for a store that is gone
    start, created, said = datetime.now(UTC), False, list[FailureDetail]()
    with watched(run.limits, run.session, offspring.uid), forward_member_warnings(run, offspring.uid):
        spaces = run.environment().spaces
        parent = _weights(run, store, spaces, offspring.parent, offspring.parent_blob)
        device, progress = run.resolve_device(), _progress(run, offspring)
        blob, record = train(run.config, offspring, parent, spaces, device, progress, said.append)
        if blob is not None and record.blob is not None:
            created = store.put_blob(blob)
            recent.checkpoints.put(record.blob.sha256, blob)
    timing = _until_now(start)
    if record.failure is None:  # else the core has logged why
        store.put_training(*address, record)
        recent.mark_trained(run.session, offspring.uid)
        log_to_run(f"{describe_training(record, offspring.genome)}; {_effort(timing)}")
    return Trained(record, timing, not created, store.numerics, _detail(said))


@member_task(name="evaluate", task_run_name="evaluate g{offspring.generation}/m{offspring.index}")
@fail_with_sentence
def evaluate_member(run: RunRef, offspring: Offspring, trained: Trained) -> Evaluated:
    """Evaluate a trained offspring and store the whole member, unless it failed; adopt it if it exists."""
    store, address = run.open(), (offspring.generation, offspring.index)
    training = trained.record
    done = store.member(*address) if recent.needs_lookup(run.session, offspring.uid) else None
    if done is not None:
        log_to_run(ADOPTED)
        found, detail = store.numerics_of(layout.member(*address), Member), details(store, [done]).get(done.uid)
        return Evaluated(done, trained.timing, None, trained.adopted, found, detail)
    start, said = datetime.now(UTC), list[FailureDetail]()
    with watched(run.limits, run.session, offspring.uid), forward_member_warnings(run, offspring.uid):
        blob = _checkpoint(store, training.blob) if training.blob else None
        spaces = run.environment().spaces
        device = run.resolve_device()
        member = evaluate_offspring(run.config, offspring, training, blob, spaces, device, said.append)
    timing = _until_now(start)
    if member.evaluation is not None:
        store.put_member(*address, member)
        log_to_run(f"{describe_evaluation(member.evaluation, run.config.evaluation.objective)}; {_effort(timing)}")
    detail = trained.detail or _detail(said)
    return Evaluated(member, trained.timing, timing, trained.adopted, store.numerics, detail)


@member_task(name="confirm", task_run_name="confirm {elite.uid} {chunk}")
@fail_with_sentence
def confirm_chunk(run: RunRef, elite: EliteRef, chunk: int) -> Played:
    """Play one chunk of an elite's confirmation on fresh seeds."""
    start, store, said = datetime.now(UTC), run.open(), list[FailureDetail]()
    with watched(run.limits, run.session, elite.uid), forward_member_warnings(run, elite.uid):
        spaces = run.environment().spaces
        blob = _weights(run, store, spaces, elite.uid, elite.blob)
        assert blob is not None
        played = play_chunk(run.config, elite, blob, spaces, chunk, run.resolve_device(), said.append)
    timing = _until_now(start)
    if played is not None:
        objective = run.config.evaluation.objective
        fitness = aggregate(np.array(played.values), objective)
        log_to_run(f"{describe_chunk(fitness, len(played.values), objective)}; {_effort(timing)}")
    return Played(played, timing, store.numerics, _detail(said))


def _weights(run: RunRef, store: RunStore, spaces: Spaces, uid: str | None, reference: BlobRef | None) -> bytes | None:
    """Read a checkpoint, or recompute it if it was garbage-collected. None for founders."""
    if uid is None or reference is None:
        return None
    if (content := recent.checkpoints.get(reference.sha256)) is None:
        content = Recomputer(store, run.config, spaces, run.resolve_device()).weights(uid, reference)
        recent.checkpoints.put(reference.sha256, content)
    return content


def _checkpoint(store: RunStore, reference: BlobRef) -> bytes:
    """Return a checkpoint from this process's cache if it was trained here, else from the store."""
    content = recent.checkpoints.get(reference.sha256)
    return store.blob(reference) if content is None else content


def _detail(said: Sequence[FailureDetail]) -> FailureDetail | None:
    """Return the last failure detail, if any, without credentials."""
    return concealed_detail(said[-1]) if said else None


def _progress(run: RunRef, offspring: Offspring) -> Callable[[Update], None]:
    """Return a callback that reports a member's steps on Dask's event bus; a no-op outside a Dask worker."""
    try:
        worker = get_worker()
    except ValueError:
        return lambda update: None
    made, topic = 0, progress_topic(run.run_id)

    def say(update: Update) -> None:
        nonlocal made
        made += update.steps
        worker.log_event(topic, {"session": run.session, "uid": offspring.uid, "steps": made})

    worker.log_event(topic, {"session": run.session, "uid": offspring.uid, "steps": made})
    return say


def _effort(timing: Timing) -> str:
    """Format a phase's duration and host."""
    return f"{(timing.end - timing.start).total_seconds():.1f} s on {timing.host}"


def _until_now(start: datetime) -> Timing:
    """Return the timing of a phase that began at `start` and ends now, on this host."""
    attempt = runtime.task_run.run_count or 1
    return Timing(start=start, end=datetime.now(UTC), host=socket.gethostname(), process=os.getpid(), attempt=attempt)
