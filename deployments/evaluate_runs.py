"""Evaluate the agents of runs on fresh episodes: a task per run, on the engine, with a member's limits."""

from dataclasses import dataclass, replace
from functools import partial

from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture

from deployments.field_titles import errors_in_form_terms
from deployments.run_batches import apply_to_runs, select_runs
from evo_core.evaluation.episodes import play_episodes, report_seeds, summarize_objectives
from evo_core.evaluation.scores import Score, add_fitness, score
from evo_core.records.chain import FailureReason
from evo_core.seeding import POPULATION, Purpose, stream
from flows.engine.runner import subscribe_to_worker_exits
from flows.member_lookup import Chosen, load
from flows.observers.observer import Observer
from flows.settings import Failed, Settings
from tasks.logs.redaction import concealed
from tasks.logs.run_failures import fail_with_sentence
from tasks.logs.run_log import log_to_run, run_logger
from tasks.member_tasks import member_task
from tasks.runs.ref import RunRef
from tasks.views.artifacts import add_table, artifact_key
from tasks.views.phrases import describe_score
from tasks.worker.watchdog import watched

BROKEN = {
    "deadline": "its episodes took longer than EVOLVE_MEMBER_DEADLINE allows",
    "memory": "its episodes took more memory than EVOLVE_MEMBER_MEMORY allows",
}
DIED = "its worker died repeatedly, perhaps for lack of memory"


@dataclass(frozen=True, slots=True)
class Request:
    """Member to evaluate (None: the delivered agent), number of episodes, and their seed."""

    member: str | None
    episodes: int
    seed: int


class Warnings(Observer):
    """Observer that writes warnings, such as those of the engine, to the log of the current flow run."""

    def __init__(self) -> None:
        self._log = run_logger()

    def warned(self, message: str) -> None:
        """Called with a message for the user, from any thread."""
        if self._log is not None:
            self._log.warning("%s", concealed(message))


@flow(name="evolve-evaluation", flow_run_name="evaluation", persist_result=False)
@fail_with_sentence
def evaluate_runs(run_id: str, request: Request) -> dict[str, Score]:
    """Evaluate a member of one run, or of every run of the store in parallel; Failed names the runs that failed."""
    failed: list[str] = []
    refs = select_runs(run_id, failed)
    limits = Settings().limits(max(1, len(refs)))
    refs = {name: replace(ref, limits=limits) for name, ref in refs.items()}
    playing = {name: (subscribe_to_worker_exits(ref), play.submit(ref, request)) for name, ref in refs.items()}
    return apply_to_runs({name: partial(_score_of, *known) for name, known in playing.items()}, failed)


@member_task(name="play", task_run_name="play {ref.run_id}")
@fail_with_sentence
@errors_in_form_terms
def play(ref: RunRef, request: Request) -> Score:
    """Play fresh episodes with a member, and add its score to the run's table of evaluations."""
    with watched(ref.limits, ref.session, ref.run_id):
        chosen = load(ref, request.member)
        found = play_and_score(chosen, request)
    numbers = found.model_dump(mode="json", exclude={"fitness", "objectives"})
    row = {"member": chosen.member.uid, "seed": request.seed, **numbers}
    row |= {objective.name: objective.value for objective in found.objectives}
    if (fitness := found.fitness) is not None:
        row |= {fitness.name: fitness.value, f"{fitness.name}, 95 % CI": fitness.ci95}
    table = [{name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in row.items()}]
    add_table(artifact_key("evaluation", ref.run_id), table, f"{ref.run_id}: {chosen.why}, on fresh episodes", {})
    said = f", {fitness.name} {describe_score(fitness.value, fitness.sem)}" if fitness is not None else ""
    log_to_run(f"{ref.run_id}: {chosen.member.uid} ({chosen.why}): mean return {found.mean:.1f}{said}")
    return found


def play_and_score(chosen: Chosen, request: Request) -> Score:
    """Return the score of an agent on fresh episodes, with its fitness and further objectives."""
    with chosen.playing():
        seeds = report_seeds(chosen.config, request.episodes, request.seed)
        played = play_episodes(chosen.agent, chosen.config, seeds)
    rng, objective = stream(request.seed, 0, POPULATION, Purpose.RESAMPLE), chosen.config.evaluation.objective
    found = add_fitness(score(played.returns, played.lengths, rng), played.values, objective, rng)
    further = summarize_objectives(chosen.agent, played.more, chosen.config, rng)
    return found.model_copy(update={"objectives": further})


def _score_of(reasons: dict[str, FailureReason], playing: PrefectFuture[Score]) -> Score:
    """Wait for a score; raise Failed with the reason if the worker died."""
    try:
        return playing.result()
    except KilledWorker as error:
        raise Failed(next((BROKEN[reason] for reason in reasons.values()), DIED)) from error
