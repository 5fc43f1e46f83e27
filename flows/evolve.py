"""The evolution flow: the whole loop over generations."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

from prefect import flow, runtime

from evo_core.config.run_config import RunConfig
from evo_core.envs.notices import first_generation_notices, notices
from evo_core.evaluation.preflight import preflight
from evo_core.evaluation.run_end import also_confirmed, find_ending
from evo_core.records.chain import Confirmation, EliteRef, Generation
from flows.confirm_elite import confirm_elite
from flows.engine.runner import open_engine
from flows.generation import evolve_generation, release_obsolete
from flows.observers.milestones import RunLog
from flows.observers.numerics_check import start_numerics_check
from flows.observers.observer import also_watched_by
from flows.observers.progress import Progress
from flows.outcome import RunSummary, summarize
from flows.prefect_server.api import configured_api
from flows.prefect_server.outages import retry_outages
from flows.prefect_server.stored_results import no_stored_results
from flows.runs import begin_run, derived_run_id, open_run_store
from flows.settings import Settings
from flows.views.run_page import RunPage
from flows.views.sync import Views
from tasks.generation_tasks import create_first_population, record_view
from tasks.logs.run_failures import fail_with_sentence
from tasks.runs.presence import hold_run
from tasks.runs.ref import versions_of_plugins
from tasks.runs.run_store import RunStore
from tasks.worker.worker_process import own_event_loop


@flow(name="evolve", flow_run_name="{config.run_name}", persist_result=False)
@fail_with_sentence
def evolve(config: RunConfig, run_id: str | None = None) -> RunSummary:
    """Evolve a population until the target is confirmed or the budget is spent.

    A run id that exists is continued from its last COMMIT and its finished members.
    """
    settings = Settings()
    settings.check_reach(configured_api())
    run_id = run_id or derived_run_id(config, runtime.flow_run.id)
    with own_event_loop(), versions_of_plugins(open_run_store(settings, run_id)):  # an event loop as in a worker
        environment = preflight(config, settings.packages)
    run = begin_run(settings, config, run_id)
    config, store = run.config, run.open()

    with (
        run_context(store),
        also_watched_by(RunLog(config)),
        Views(run, settings, record_view, page=partial(RunPage, run, settings), apart=True) as views,
        also_watched_by(Progress(views.advance)) as watcher,
        open_engine(settings, config.population.most) as runner,
    ):
        for notice in notices(config, environment):
            watcher.warned(notice)
        generation, confirmation = (
            retry_outages(step.with_options(task_runner=runner)) for step in (evolve_generation, confirm_elite)
        )

        @cache
        def confirm(elite: EliteRef) -> Confirmation | None:
            other = also_confirmed(config, head, elite)
            record = store.confirmation(elite) or confirmation(run.run_id, elite, other)
            if record is not None and record.uid != elite.uid:
                raise RuntimeError(f"expected the confirmation of {elite.uid}, got that of {record.uid}")
            return record

        head = store.head() or create_first_population(run, environment.spaces)
        start_numerics_check(run, settings)
        for difference in store.other_numerics(head):
            watcher.warned(f"{difference}: from here on the bits may differ from an undisturbed run's")
        release_obsolete(run, None)
        watcher.began(run.run_id, head)
        views.record(head)
        while (ending := find_ending(config, head, confirm)) is None:
            head = _successor(head, generation(run.run_id, head.generation + 1))
            views.record(head)
            for notice in first_generation_notices(config, head):
                watcher.warned(notice)
        watcher.ended(ending)
        summary = summarize(run.run_id, head, ending)
        return summary.model_copy(update={"behind": views.close(summary)})


@contextmanager
def run_context(store: RunStore) -> Iterator[None]:
    """Context of a running run: checks its place in the store, holds its lock, stores no results."""
    with store.in_place(), hold_run(store), no_stored_results():
        yield


def _successor(head: Generation, commit: Generation) -> Generation:
    """Check that a subflow returned the requested generation, not one cached by Prefect."""
    if commit.generation != head.generation + 1:
        raise RuntimeError(f"expected generation {head.generation + 1}, got {commit.generation} from the subflow")
    return commit
