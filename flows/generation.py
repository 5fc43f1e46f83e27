"""One generation: every member is trained and evaluated in parallel, then selection makes the next."""

from typing import Any

from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture, as_completed

from evo_core.evolution.population import GenerationFailed
from evo_core.records import Generation, Member, Offspring
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
    phases: dict[PrefectFuture[Any], Offspring] = {}
    evaluations: dict[int, PrefectFuture[Member]] = {}
    for offspring in population:
        training = train_member.submit(ref, offspring)
        evaluations[offspring.index] = evaluate_member.submit(ref, offspring, training)
        phases[training] = phases[evaluations[offspring.index]] = offspring
    members: dict[int, Member] = {}
    for future in as_completed(list(phases)):
        offspring = phases[future]
        try:
            result = future.result()
        except KilledWorker as error:
            observer().warned(f"{offspring.uid}: its worker died again and again: {error}")
            continue
        if isinstance(result, Member):
            members[offspring.index] = result
            observer().evaluated(result)
        else:
            observer().trained(result)
    lost = [offspring for offspring in population if offspring.index not in members]
    return sorted([*members.values(), *_write_off(ref, lost, len(members))], key=lambda member: member.offspring.index)


def _write_off(ref: RunRef, lost: list[Offspring], finished: int) -> list[Member]:
    """Record members whose every attempt killed its worker, unless so many are lost that the fault is elsewhere."""
    needed = ref.config.population.required_survivors
    if finished < needed:
        raise GenerationFailed(
            f"the workers of {len(lost)} members died again and again, {finished} members finished and "
            f"population.min_survivors asks for {needed}; nothing was written off. Look for lack of memory or an "
            "environment that ends its process"
        )
    store, members = ref.open(), []
    for offspring in lost:
        address = (offspring.generation, offspring.index)
        member = store.member(*address) or lost_member(offspring, store.training(*address))
        store.put_member(*address, member)
        observer().evaluated(member)
        members.append(member)
    return members
