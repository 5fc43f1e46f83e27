"""One generation: every member is trained and evaluated in parallel, then selection makes the next."""

from typing import Any

from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture, as_completed
from prefect_dask import get_dask_client

from evo_core.evolution.population import require_survivors
from evo_core.records import FailureReason, Generation, Member, Offspring
from evo_core.training import lost_member
from flows.observer import observer
from flows.runs import open_ref
from flows.settings import Settings
from tasks import layout
from tasks.generation import release_checkpoints, select_and_mutate
from tasks.members import evaluate_member, train_member
from tasks.ref import RunRef
from tasks.store import PATIENCE_S, ConflictError, MissingError, StoreError
from tasks.watchdog import ended_topic

Population = tuple[Offspring, ...]


@flow(name="generation", flow_run_name="generation {generation}", persist_result=False)
def evolve_generation(run_id: str, generation: int) -> Generation:
    """Make COMMIT `generation` from the one before it; what is already stored is not run again."""
    ref = open_ref(run_id, PATIENCE_S)
    store = ref.open()
    if (existing := store.find(layout.commit(generation), Generation)) is not None:
        return existing  # another process was faster
    previous = store.commit(generation - 1)
    observer().generation_began(previous.offspring)
    try:
        commit = select_and_mutate(ref, previous, _run_members(ref, previous.offspring))
    except MissingError as error:  # a collector took a checkpoint that was adopted: its member is trained again
        observer().warned(str(error))
        commit = select_and_mutate(ref, previous, _run_members(ref, previous.offspring))
    observer().committed(commit)
    tidy(ref, commit)
    return commit


def tidy(ref: RunRef, head: Generation | None) -> None:
    """Release what a COMMIT has made superfluous (None: whatever is), if that is wanted; it never stops a run."""
    if keep := Settings().keep_generations:
        try:
            release_checkpoints(ref, head, keep)
        except StoreError as error:
            observer().warned(f"old checkpoints were not released: {error}")


def _run_members(ref: RunRef, population: Population) -> list[Member]:
    """Train and evaluate all members on the engine; the order of completion does not matter.

    Failures are written down only here, once enough others have finished: else the fault may be elsewhere.
    """
    members = _attempt(ref, population)
    reasons = _reasons(ref)
    for offspring in population:
        # whose worker died although it broke no limit may be a victim of a neighbour: alone, it can only blame itself
        if offspring.uid not in members and offspring.uid not in reasons:
            members |= _attempt(ref, (offspring,))
    store, reasons = ref.open(), _reasons(ref)
    for offspring in population:
        if offspring.uid not in members:
            trained = store.training(offspring.generation, offspring.index)
            members[offspring.uid] = lost_member(offspring, trained, reasons.get(offspring.uid, "lost"))
            observer().evaluated(members[offspring.uid])
    ordered = [members[offspring.uid] for offspring in population]
    require_survivors(ref.config, population[0].generation, ordered)
    return [member if member.failure is None else _write_down(ref, member) for member in ordered]


def _attempt(ref: RunRef, population: Population) -> dict[str, Member]:
    """Run members side by side; those whose worker died again and again are missing from what is returned."""
    phases: dict[PrefectFuture[Any], Offspring] = {}
    for offspring in population:
        training = train_member.submit(ref, offspring)
        phases[training] = phases[evaluate_member.submit(ref, offspring, training)] = offspring
    members: dict[str, Member] = {}
    for future in as_completed(list(phases)):
        try:
            result = future.result()
        except KilledWorker as error:
            observer().warned(f"{phases[future].uid}: its worker died again and again: {error}")
            continue
        if isinstance(result, Member):
            members[result.uid] = result
            observer().evaluated(result)
        else:
            observer().trained(result)
    return members


def _reasons(ref: RunRef) -> dict[str, FailureReason]:
    """Ask the scheduler which members' workers ended themselves, and why."""
    with get_dask_client() as client:
        events: tuple[tuple[float, dict[str, Any]], ...] = client.get_events(ended_topic(ref.session))
    return {event["uid"]: event["reason"] for _, event in events}


def _write_down(ref: RunRef, member: Member) -> Member:
    """Record a member that failed; return what counts."""
    store, offspring = ref.open(), member.offspring
    try:
        store.put_training(offspring.generation, offspring.index, member.training)
        store.put_member(offspring.generation, offspring.index, member)
    except ConflictError:  # a worker that was given up has finished meanwhile: what it made counts
        member = evaluate_member.submit(ref, offspring, train_member.submit(ref, offspring)).result()
        observer().evaluated(member)
    return member
