"""One generation: train and evaluate every member in parallel, then select, mutate and commit."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture, as_completed

from evo_core.evolution.population import require_survivors
from evo_core.records.chain import Generation, Offspring
from evo_core.records.failures import GenerationFailed
from evo_core.training import record_lost_member
from flows.engine.runner import subscribe_to_worker_exits
from flows.observers.numerics_check import compare_numerics
from flows.observers.observer import observer
from flows.observers.warning_relay import subscribe_to_warnings
from flows.runs import begun_ref
from flows.settings import Settings
from flows.worker_topics import subscribe
from tasks.generation_tasks import release_checkpoints, select_and_mutate
from tasks.logs.run_failures import fail_with_sentence
from tasks.member_tasks import Evaluated, Trained, evaluate_member, progress_topic, train_member
from tasks.runs import layout
from tasks.runs.failed_members import put_failed_attempt
from tasks.runs.ref import RunRef
from tasks.runs.run_records import FailedAttempt, FailedMember, Timing
from tasks.store import ConflictError, MissingError, StoreError
from tasks.worker.remote_task import untracked

Population = tuple[Offspring, ...]


@flow(name="evolve-generation", flow_run_name="generation {generation}", persist_result=False)
@fail_with_sentence
def evolve_generation(run_id: str, generation: int) -> Generation:
    """Run a generation and create its COMMIT; members that are already stored are not run again."""
    ref = begun_ref(run_id)
    with ref.open().in_place():
        return _make(ref, generation)


def _make(ref: RunRef, generation: int) -> Generation:
    store = ref.open()
    if (existing := store.find(layout.commit(generation), Generation)) is not None:
        return existing  # another process was first
    previous = store.commit(generation - 1)
    observer().generation_began(previous.offspring)
    try:
        commit = select_and_mutate(ref, untracked(previous), untracked(_run_members(ref, previous.offspring)))
    except MissingError as error:  # garbage collection removed an adopted checkpoint: train its member again
        store.require_in_place()
        observer().warned(str(error))
        commit = select_and_mutate(ref, untracked(previous), untracked(_run_members(ref, previous.offspring)))
    observer().committed(commit)
    release_obsolete(ref, commit)
    return commit


def release_obsolete(ref: RunRef, head: Generation | None) -> None:
    """Release checkpoints that a COMMIT made obsolete (None: all obsolete ones), if configured; failures are
    warnings."""
    if keep := Settings().keep_generations:
        try:
            release_checkpoints(ref, head, keep)
        except StoreError as error:
            observer().warned(f"old checkpoints were not released: {error}")


def _run_members(ref: RunRef, population: Population) -> list[Evaluated]:
    """Train and evaluate all members on the engine; the order of completion does not matter.

    Failures are stored only here, once enough others have finished: otherwise the cause may be elsewhere.
    """
    reasons, watcher = subscribe_to_worker_exits(ref), observer()

    def progressed(said: dict[str, Any]) -> None:
        if said["session"] == ref.session:  # a run of this id in another store may share the scheduler
            watcher.progressed(said["uid"], said["steps"])

    subscribe(progress_topic(ref.run_id), progressed)
    subscribe_to_warnings(ref)
    results = _attempt(ref, population)
    for offspring in population:
        # a member whose worker died within its limits may be the victim of another member: retry it alone
        if offspring.uid not in results and offspring.uid not in reasons:
            results |= _attempt(ref, (offspring,))
    store = ref.open()
    for offspring in population:
        if offspring.uid not in results:
            trained = store.training(offspring.generation, offspring.index)
            lost = record_lost_member(offspring, trained, reasons.get(offspring.uid, "lost"))
            results[offspring.uid] = Evaluated(lost)
            observer().evaluated(lost)
    ordered = [results[offspring.uid] for offspring in population]
    _require_survivors(ref, population[0].generation, ordered)
    return [result if result.member.failure is None else _store_failure(ref, result) for result in ordered]


def _require_survivors(ref: RunRef, generation: int, results: Sequence[Evaluated]) -> None:
    """Raise GenerationFailed when too few members finished; store the failures, for `evolve status`."""
    details = {result.member.uid: result.detail for result in results if result.detail is not None}
    try:
        require_survivors(ref.config, generation, [result.member for result in results], details)
    except GenerationFailed:
        failed = {
            result.member.uid: FailedMember(failure=result.member.failure, detail=result.detail)
            for result in results
            if result.member.failure is not None
        }
        with suppress(StoreError):
            put_failed_attempt(ref.open(), generation, FailedAttempt(members=failed))
        raise


def _submit(ref: RunRef, offspring: Offspring) -> tuple[PrefectFuture[Trained], PrefectFuture[Evaluated]]:
    """Submit a member's training and its evaluation, to which Prefect gives what the training returns."""
    training = train_member.submit(ref, offspring)
    return training, evaluate_member.submit(ref, offspring, cast(Trained, training))


def _attempt(ref: RunRef, population: Population) -> dict[str, Evaluated]:
    """Run members in parallel; members whose worker died repeatedly are missing in the result."""
    phases: dict[PrefectFuture[Any], Offspring] = {}
    for offspring in population:
        phases.update(dict.fromkeys(_submit(ref, offspring), offspring))
    results: dict[str, Evaluated] = {}
    clocks: dict[str, Timing | None] = {}
    for future in as_completed(list(phases)):
        try:
            result = future.result()
        except KilledWorker:
            observer().warned(f"{phases[future].uid}: its worker died repeatedly")
            continue
        if isinstance(result, Evaluated):
            uid = result.member.uid
            # a training whose worker died before the evaluation is submitted again, and found in the store
            results[uid] = replace(result, trained=result.trained or clocks.get(uid))
            compare_numerics(ref, uid, result.evaluated, result.numerics)
            observer().evaluated(result.member, result.detail)
        else:
            clocks[result.record.uid] = result.timing
            compare_numerics(ref, result.record.uid, result.timing, result.numerics)
            observer().trained(result.record)
    return results


def _store_failure(ref: RunRef, result: Evaluated) -> Evaluated:
    """Store the record of a failed member; return the stored record."""
    store, offspring, member = ref.open(), result.member.offspring, result.member
    try:
        store.put_training(offspring.generation, offspring.index, member.training, result.detail)
        store.put_member(offspring.generation, offspring.index, member, result.detail)
    except ConflictError:  # a worker that was considered lost has finished: its record counts
        _, evaluating = _submit(ref, offspring)
        result = evaluating.result()
        observer().evaluated(result.member, result.detail)
    return result
