"""Prefect tasks that end a generation: select, mutate and commit; then update the views and apply retention."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from evo_core.evolution.population import create_population, next_generation
from evo_core.records.chain import Generation
from evo_core.spaces.spaces import Spaces
from tasks.member_tasks import Evaluated
from tasks.runs import retention
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Timings
from tasks.store import MissingError
from tasks.views.view import View


@task(name="create population", cache_policy=NO_CACHE, persist_result=False)
def create_first_population(run: RunRef, spaces: Spaces) -> Generation:
    """Draw the founders and write COMMIT 0."""
    commit = create_population(run.config, spaces.observation)
    run.open().put_commit(commit)
    return commit


@task(name="select and mutate", cache_policy=NO_CACHE, persist_result=False)
def select_and_mutate(run: RunRef, previous: Generation, results: Sequence[Evaluated]) -> Generation:
    """Select parents, mutate their offspring, and write the COMMIT that makes the generation exist.

    Raise MissingError if a member's checkpoint is gone: an adopted one may have been garbage-collected meanwhile.
    """
    commit, store = next_generation(run.config, previous, [result.member for result in results]), run.open()
    adopted = (result.member.training.blob for result in results if result.adopted)
    gone = store.missing_blobs(blob for blob in adopted if blob)
    if gone:
        raise MissingError(
            f"checkpoints {', '.join(reference.sha256 for reference in gone)} of generation {commit.generation} are "
            "gone from the store, so it was not committed; training their members again brings them back"
        )
    if any(result.trained or result.evaluated for result in results):
        store.put_timings(commit.generation, _timings(results))
    store.put_commit(commit)
    return commit


def _timings(results: Sequence[Evaluated]) -> Timings:
    return Timings(
        train={result.member.uid: result.trained for result in results if result.trained},
        evaluate={result.member.uid: result.evaluated for result in results if result.evaluated},
    )


@task(name="record", task_run_name="record {name}", cache_policy=NO_CACHE, persist_result=False)
def record_view(name: str, view: View, head: Generation) -> int:
    """Update a view; return the number of items added."""
    return view.catch_up(head)


@task(name="release checkpoints", cache_policy=NO_CACHE, persist_result=False)
def release_checkpoints(run: RunRef, head: Generation | None, keep_generations: int) -> int:
    """Delete the checkpoints that a COMMIT made superfluous, or all superfluous ones (None); return how many."""
    if head is None:
        return len(retention.collect(run.open(), keep_generations).blobs)
    return retention.release_passed(run.open(), head, keep_generations)
