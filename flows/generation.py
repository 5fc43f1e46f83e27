"""One generation: every member is trained and evaluated in parallel, then selection makes the next."""

from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture, as_completed

from evo_core.records import Generation, Member, Offspring, Training
from evo_core.training import lost_member
from flows.observer import observer
from flows.runs import open_ref
from tasks.generation import select_and_mutate
from tasks.members import evaluate_member, train_member
from tasks.ref import RunRef


@flow(name="generation", flow_run_name="generation {generation}", persist_result=False)
def evolve_generation(run_id: str, generation: int) -> Generation:
    """Make COMMIT `generation` from the one before it; what is already stored is not run again."""
    ref = open_ref(run_id)
    previous = ref.open().commit(generation - 1)
    observer().generation_began(previous.offspring)
    members = _run_members(ref, previous.offspring)
    commit = select_and_mutate(ref, previous, members)
    observer().committed(commit)
    return commit


def _run_members(ref: RunRef, population: tuple[Offspring, ...]) -> list[Member]:
    """Train and evaluate all members on the engine; the order of completion does not matter."""
    phases: dict[PrefectFuture, Offspring] = {}
    evaluations: dict[int, PrefectFuture] = {}
    for offspring in population:
        training = train_member.submit(ref, offspring)
        evaluations[offspring.index] = evaluate_member.submit(ref, offspring, training)
        phases[training] = phases[evaluations[offspring.index]] = offspring
    members: dict[int, Member] = {}
    for future in as_completed(list(phases)):
        offspring = phases[future]
        if future is evaluations[offspring.index]:
            members[offspring.index] = _member(ref, offspring, future)
            observer().evaluated(members[offspring.index])
        else:
            _report_training(future)
    return [members[offspring.index] for offspring in population]


def _member(ref: RunRef, offspring: Offspring, future: PrefectFuture[Member]) -> Member:
    """Take a member's record, or write it off when the engine lost every attempt."""
    try:
        return future.result()
    except (KilledWorker, FutureCancelledError) as error:
        store, address = ref.open(), (offspring.generation, offspring.index)
        observer().warned(f"{offspring.uid} is lost: {error}")
        if (done := store.member(*address)) is not None:
            return done
        store.put_member(*address, lost_member(offspring))
        return lost_member(offspring)


def _report_training(future: PrefectFuture[Training]) -> None:
    try:
        observer().trained(future.result())
    except (KilledWorker, FutureCancelledError):
        return  # the evaluation, which depends on it, reports the loss
