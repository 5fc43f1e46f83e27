"""What ends a generation: selection, mutation and COMMIT; then the view of it in the study."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from evo_core.evolution.population import create_population, next_generation
from evo_core.networks.actor_critic import Spaces
from evo_core.records import Generation, Member
from tasks.ref import RunRef
from tasks.study import StudyRecorder


@task(name="found population", cache_policy=NO_CACHE, persist_result=False)
def found_population(run: RunRef, spaces: Spaces) -> Generation:
    """Draw the founders and write COMMIT 0."""
    commit = create_population(run.config, spaces.observation)
    run.open().put_commit(commit)
    return commit


@task(name="select and mutate", cache_policy=NO_CACHE, persist_result=False)
def select_and_mutate(run: RunRef, previous: Generation, members: Sequence[Member]) -> Generation:
    """Select parents, mutate their offspring, and write the COMMIT that makes the generation exist."""
    commit = next_generation(run.config, previous, members)
    run.open().put_commit(commit)
    return commit


@task(name="record lineage", cache_policy=NO_CACHE, persist_result=False)
def record_lineage(recorder: StudyRecorder, head: Generation) -> int:
    """Add to the study what it lacks; return the number of trials added."""
    return recorder.catch_up(head)
