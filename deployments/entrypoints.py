"""The flows that people start from the Prefect UI; their parameters are the forms.

Where runs are stored and computed is not a parameter: it comes from the worker's environment (EVOLVE_STORE,
EVOLVE_STUDY, …), so that Prefect never records an address or a credential.
"""

import os
from functools import partial
from typing import Annotated
from uuid import UUID

from prefect import get_run_logger, runtime

from deployments.evaluate_runs import Request, Warnings, evaluate_runs
from deployments.field_titles import Refused, errors_in_form_terms, refused_name, replace_names_by_titles
from deployments.form import (
    DEFAULT,
    FORM_DEFAULTS,
    AdvancedBox,
    AnyRun,
    Evolving,
    ExistingRun,
    NewBranch,
    NewRun,
    Yaml,
    config_of,
    form_field,
    labeled,
    labeled_number,
)
from deployments.form_flow import form_flow
from deployments.guardian import guard
from deployments.run_batches import apply_to_runs, select_runs
from deployments.run_choices import Offering
from deployments.run_lock import lock_run
from evo_core.config.bounds import LARGEST, MOST_EPISODES, MOST_GENERATIONS, SAFE_INTEGER
from evo_core.config.parsing import ConfigError
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.scores import Score
from flows.engine.runner import open_engine
from flows.evolve import evolve as evolution
from flows.member_lookup import SCORED_EPISODES
from flows.observers.observer import also_watched_by
from flows.operational import ENV_PREFIX
from flows.outcome import RunSummary
from flows.prefect_server.api import configured_api
from flows.prefect_server.stored_results import refuse_stored_results
from flows.run_changes import extend_run, fork_run
from flows.runs import check_run, derived_run_id, open_ref, open_run_store, run_ids
from flows.settings import BadInput, Settings
from tasks.logs.run_failures import fail_with_sentence
from tasks.runs import retention
from tasks.runs.ref import RunRef
from tasks.store.addresses import is_relative
from tasks.views.artifacts import artifact_key, belongs_here, newest

refuse_stored_results()  # before Prefect's engine starts the flow run for which this module is imported

_ENV, _TRAINING, _ALGORITHM = DEFAULT.env, DEFAULT.training, DEFAULT.algorithm

SEEDS = 2**32
"""Number of possible seeds of an evaluation."""


def _name() -> str:
    """Return the name of a flow run: what it evolves, the run it works on, or why it was rejected."""
    parameters, kind = runtime.flow_run.parameters, runtime.flow_run.flow_name.removeprefix("evolve-")
    refused = next((value for value in parameters.values() if isinstance(value, Refused)), None)
    if refused is not None:
        return refused_name(kind, refused.reason)
    if kind != "evolve":
        return f"{kind} {parameters.get('run_id') or 'all runs'}"
    try:
        config = config_of(parameters)
    except ConfigError as error:  # the run itself reports the error
        return refused_name(kind, replace_names_by_titles(str(error), kind, pasted=bool(parameters.get("yaml"))))
    return config.run_name


@form_flow("evolve", _name)
@fail_with_sentence
@errors_in_form_terms
def evolve(
    environment: Annotated[str, form_field("environment")] = _ENV.id,
    run_id: NewRun = "",
    population_size: Annotated[int, form_field("population_size")] = DEFAULT.population.size,
    max_steps: Annotated[int, form_field("max_steps")] = _TRAINING.max_steps,
    evo_steps: Annotated[int, form_field("evo_steps")] = _TRAINING.evo_steps,
    target: Annotated[float | None, form_field("target")] = _TRAINING.target,
    num_envs: Annotated[int, form_field("num_envs")] = _ENV.num_envs,
    lr: Annotated[float, form_field("lr")] = _ALGORITHM.lr,
    batch_size: Annotated[int, form_field("batch_size")] = _ALGORITHM.batch_size,
    learn_step: Annotated[int, form_field("learn_step")] = _ALGORITHM.learn_step,
    recurrent: Annotated[bool, form_field("recurrent")] = _ALGORITHM.recurrent,
    evolving: Evolving = FORM_DEFAULTS["evolving"],
    seed: Annotated[int, form_field("seed")] = DEFAULT.seed,
    yaml: Yaml = "",
    advanced: AdvancedBox = None,
) -> RunSummary:
    """Evolve a population of PPO agents and their hyperparameters until the target is confirmed or the budget spent."""
    config = config_of(dict(locals()))
    settings = _begin()
    settings.check_reach(configured_api())
    run_id = run_id or derived_run_id(config, runtime.flow_run.id)
    inspect_environment(config, settings.packages)  # report errors at once, before waiting for the lock
    if not check_run(settings, config, run_id):
        _require_unbegun(settings, run_id)
    with lock_run(run_id), also_watched_by(Offering()):
        return evolution.fn(config, run_id)


@form_flow("evolve-resume", _name)
@fail_with_sentence
@errors_in_form_terms
def resume(
    run_id: ExistingRun,
    max_steps: Annotated[
        int | None,
        labeled_number(
            "Budget in steps", "New TOTAL of training steps, above the old one.", 1, SAFE_INTEGER, null="as it is"
        ),
    ] = None,
    target: Annotated[float | None, labeled_number("Target", "New target.", -LARGEST, LARGEST, null="as it is")] = None,
    from_generation: Annotated[
        int | None,
        labeled_number(
            "From generation",
            "Leave the run as it is, and continue from this generation under another name.",
            0,
            MOST_GENERATIONS,
        ),
    ] = None,
    new_run_id: NewBranch = "",
) -> RunSummary:
    """Continue a run from its last COMMIT and its finished members, with its own configuration."""
    settings = _begin()
    settings.check_reach(configured_api())
    ref = open_ref(run_id)
    ref.require_plugins()
    config = ref.config
    longer = partial(extend_run, settings, max_steps=max_steps, target=target)
    if from_generation is not None:
        source, run_id = run_id, new_run_id or derived_run_id(config, runtime.flow_run.id)
        fork_run(settings, source, from_generation, run_id, max_steps, target)
    elif new_run_id:
        raise BadInput("Name of the branch: names the run that From generation makes; fill in both, or neither")
    longer(run_id, dry_run=True)
    with lock_run(run_id), also_watched_by(Offering()):
        longer(run_id)
        return evolution.fn(open_ref(run_id).config, run_id)


@form_flow("evolve-evaluate", _name)
@fail_with_sentence
@errors_in_form_terms
def evaluate(
    run_id: AnyRun = "",
    member: Annotated[
        str, labeled("Member", "Such as g0003/m05. Empty: the delivered agent.", pattern=r"^(g\d{4,10}/m\d{2,6})?$")
    ] = "",
    episodes: Annotated[int, labeled_number("Episodes", "Fresh episodes.", 1, MOST_EPISODES)] = SCORED_EPISODES,
    seed: Annotated[
        int | None,
        labeled_number("Seed", "Draws the episodes.", 0, SEEDS - 1, null="different ones in every flow run"),
    ] = None,
) -> dict[str, Score]:
    """Evaluate the delivered agents of runs on fresh episodes; each run keeps a table of its evaluations."""
    settings = _begin()
    settings.check_reach(configured_api())
    seed = UUID(runtime.flow_run.id).int % SEEDS if seed is None else seed
    runs = [open_ref(run_id).run_id] if run_id else run_ids(settings)
    if not runs:
        return {}
    with also_watched_by(Warnings()), open_engine(settings, len(runs)) as runner:
        return evaluate_runs.with_options(task_runner=runner)(run_id, Request(member or None, episodes, seed))


@form_flow("evolve-gc", _name)
@fail_with_sentence
@errors_in_form_terms
def gc(
    run_id: AnyRun = "",
    keep_generations: Annotated[
        int,
        labeled_number("Kept generations", "Generations whose checkpoints are all kept.", 1, MOST_GENERATIONS),
    ] = retention.KEPT_GENERATIONS,
    dry_run: Annotated[bool, labeled("Dry run", "Only log what would be released.")] = False,
) -> dict[str, int]:
    """Release checkpoints that runs no longer need; elites, parents and records are kept. Safe while runs are
    running."""
    _begin()

    def collect(ref: RunRef) -> int:
        run = ref.open()
        plan = retention.plan(run, keep_generations) if dry_run else retention.collect(run, keep_generations)
        verb = "would be released" if dry_run else "released"
        get_run_logger().info(f"{ref.run_id}: {len(plan.blobs)} checkpoints {verb}, {plan.size / 1e6:.1f} MB")
        return len(plan.blobs)

    failed: list[str] = []
    return apply_to_runs({name: partial(collect, ref) for name, ref in select_runs(run_id, failed).items()}, failed)


def _require_unbegun(settings: Settings, run_id: str) -> None:
    """Raise GoneError on a Retry of a flow run that has started its run already, as its progress bar shows."""
    if (runtime.flow_run.run_count or 1) > 1:
        bar = newest(artifact_key("progress", run_id))
        if bar is not None and belongs_here(bar):
            open_run_store(settings, run_id).require_in_place()


def _begin() -> Settings:
    """Read the worker's settings and start a guardian; BadInput for paths relative to the flow run's own directory."""
    guard()
    for directory in filter(is_relative, filter(None, os.environ.get(f"{ENV_PREFIX}ENV_PATH", "").split(os.pathsep))):
        raise BadInput(
            f"EVOLVE_ENV_PATH: expected whole paths in this worker's environment, got {directory!r}; flow runs start "
            "in directories of their own, so start the worker with EVOLVE_ENV_PATH=/srv/envs"
        )
    settings = Settings()
    if is_relative(settings.store):
        raise BadInput(
            f"EVOLVE_STORE: expected an absolute path or a URL in this worker's environment, got {settings.store!r}; "
            "start the worker with EVOLVE_STORE=s3://bucket/runs, or a directory such as /var/lib/evolve/runs"
        )
    if settings.study is not None and is_relative(settings.study):
        raise BadInput(
            f"EVOLVE_STUDY: expected an absolute path or a URL in this worker's environment, got {settings.study!r}; "
            "start the worker with EVOLVE_STUDY=sqlite:////var/lib/evolve/study.db, or postgresql://user@host/optuna"
        )
    return settings
