"""The flows that people start from the Prefect UI; their parameters are the forms.

Where runs are kept and computed is no parameter: it is the worker's environment (EVOLVE_STORE, EVOLVE_STUDY, …), so
that Prefect never records an address or a credential.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from deployments.form import (
    DEFAULT,
    DEFAULTS,
    AdvancedBox,
    AnyRun,
    Evolving,
    ExistingRun,
    NewBranch,
    NewRun,
    Yaml,
    config_of,
    in_words_of_the_form,
    labelled,
    shown,
)
from deployments.guardian import guard
from deployments.offers import Offering
from deployments.sharing import alone_on
from evo_core.evaluation import play_episodes, report_seeds
from evo_core.loading import ConfigError
from evo_core.scores import Score, score
from evo_core.seeding import POPULATION, Purpose, stream
from flows.evolve import evolve as evolution
from flows.faults import tolerated
from flows.members import choose
from flows.observer import also_watched_by
from flows.runs import derived_run_id, extend_run, fork_run, open_ref, run_ids
from flows.settings import BadInput, Failed, Settings
from flows.summary import RunSummary
from tasks import layout, retention
from tasks.artifacts import add_table, artifact_key
from tasks.failing import fails_plainly

_ENV, _TRAINING, _ALGORITHM = DEFAULT.env, DEFAULT.training, DEFAULT.algorithm

R = TypeVar("R")

SEEDS = 2**32
"""How many seeds of an evaluation there are."""


def _name() -> str:
    """Name a flow run by what it evolves, or by the run that it works on."""
    parameters, name = runtime.flow_run.parameters, runtime.flow_run.flow_name
    if name != "evolve":
        return f"{name} {parameters.get('run_id') or 'all runs'}"
    try:
        config = config_of(parameters)
    except (ConfigError, KeyError):  # the run itself will say what is wrong
        return "evolve"
    return config.run_name


@flow(name="evolve", flow_run_name=_name)
@fails_plainly
@in_words_of_the_form
def evolve(
    environment: Annotated[str, shown("environment", "Environment")] = _ENV.id,
    run_id: NewRun = "",
    population_size: Annotated[int, shown("population_size", "Members of the population")] = DEFAULT.population.size,
    max_steps: Annotated[int, shown("max_steps", "Budget in steps")] = _TRAINING.max_steps,
    evo_steps: Annotated[int, shown("evo_steps", "Steps per member and generation")] = _TRAINING.evo_steps,
    target: Annotated[float | None, shown("target", "Target")] = _TRAINING.target,
    num_envs: Annotated[int, shown("num_envs", "Copies of the environment")] = _ENV.num_envs,
    lr: Annotated[float, shown("lr", "Learning rate")] = _ALGORITHM.lr,
    batch_size: Annotated[int, shown("batch_size", "Minibatch size")] = _ALGORITHM.batch_size,
    learn_step: Annotated[int, shown("learn_step", "Steps per update")] = _ALGORITHM.learn_step,
    recurrent: Annotated[bool, shown("recurrent", "Recurrent policy")] = _ALGORITHM.recurrent,
    evolving: Evolving = DEFAULTS["evolving"],
    seed: Annotated[int, shown("seed", "Seed")] = DEFAULT.seed,
    yaml: Yaml = "",
    advanced: AdvancedBox = None,
) -> RunSummary:
    """Evolve a population of PPO agents and their hyperparameters until the target is confirmed or the budget spent."""
    form = dict(locals())
    _begin()
    config = config_of(form)
    run_id = run_id or derived_run_id(config, runtime.flow_run.id)
    with alone_on(run_id), also_watched_by(Offering()):
        return evolution.fn(config, run_id)


@flow(name="resume", flow_run_name=_name)
@fails_plainly
@in_words_of_the_form
def resume(
    run_id: ExistingRun,
    max_steps: Annotated[
        int | None, labelled("Budget in steps", "New TOTAL of training steps, above the old one. None: as it is.", ge=1)
    ] = None,
    target: Annotated[float | None, labelled("Target", "New target. None: as it is.")] = None,
    from_generation: Annotated[
        int | None,
        labelled(
            "From generation",
            "Leave the run as it is, and go on from this generation (0 or more) under another name.",
            ge=0,
        ),
    ] = None,
    new_run_id: NewBranch = "",
) -> RunSummary:
    """Go on with a run from its last COMMIT and its finished members, with its own configuration."""
    settings = _begin()
    config = open_ref(run_id).config
    if from_generation is not None:
        source, run_id = run_id, new_run_id or derived_run_id(config, runtime.flow_run.id)
        fork_run(settings, source, from_generation, run_id)
    elif new_run_id:
        raise BadInput("new_run_id: names the run that from_generation makes; fill in both, or neither")
    with alone_on(run_id), also_watched_by(Offering()):
        if max_steps is not None or target is not None:
            extend_run(settings, run_id, max_steps, target)
        return evolution.fn(open_ref(run_id).config, run_id)


@flow(name="evaluate", flow_run_name=_name)
@fails_plainly
@in_words_of_the_form
def evaluate(
    run_id: AnyRun = "",
    member: Annotated[
        str, labelled("Member", "Such as g0003/m05. Empty: the delivered agent.", pattern=r"^(g\d{4,}/m\d{2,})?$")
    ] = "",
    episodes: Annotated[int, labelled("Episodes", "Fresh episodes. 1 to 100000.", ge=1, le=100_000)] = 100,
    seed: Annotated[
        int | None,
        labelled("Seed", "Draws the episodes. None: other ones in every flow run. 0 to 4294967295.", ge=0, lt=SEEDS),
    ] = None,
) -> dict[str, Score]:
    """Play runs' delivered agents on episodes that chose nobody; each run keeps a table of its evaluations."""
    _begin()
    seed = UUID(runtime.flow_run.id).int % SEEDS if seed is None else seed
    return _each(run_id, lambda name: play.submit(name, member or None, episodes, seed).result())


@task(name="play", task_run_name="play {run_id}", cache_policy=NO_CACHE, persist_result=False)
@fails_plainly
@in_words_of_the_form
def play(run_id: str, member: str | None, episodes: int, seed: int) -> Score:
    """Play fresh episodes with a member, and put its score into the run's table of evaluations."""
    chosen = choose(run_id, member, None)
    with chosen.playing():
        played = play_episodes(chosen.agent, chosen.config, report_seeds(chosen.config, episodes, seed))
    found = score(*played, stream(seed, 0, POPULATION, Purpose.RESAMPLE))
    row = {"member": chosen.member.uid, "seed": seed, **found.model_dump(mode="json")}
    table = [{name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in row.items()}]
    add_table(artifact_key("evaluation", run_id), table, f"{run_id}: {chosen.why}, on fresh episodes", {})
    get_run_logger().info(f"{run_id}: {chosen.member.uid} ({chosen.why}): mean return {found.mean:.1f}")
    return found


@flow(name="gc", flow_run_name=_name)
@fails_plainly
def gc(
    run_id: AnyRun = "",
    keep_generations: Annotated[
        int, labelled("Kept generations", "Generations whose checkpoints are all kept. 1 or more.", ge=1)
    ] = 3,
    dry_run: Annotated[bool, labelled("Dry run", "Only say what would be released.")] = False,
) -> dict[str, int]:
    """Release checkpoints that runs need no longer; elites, parents and records stay. Safe beside running runs."""
    _begin()

    def collect(name: str) -> int:
        run = open_ref(name).open()
        plan = retention.plan(run, keep_generations) if dry_run else retention.collect(run, keep_generations)
        verb = "would be released" if dry_run else "released"
        get_run_logger().info(f"{name}: {len(plan.blobs)} checkpoints {verb}, {plan.size / 1e6:.1f} MB")
        return len(plan.blobs)

    return _each(run_id, collect)


def _begin() -> Settings:
    """Read the worker's settings, and have the flow run guarded.

    BadInput for a store that would vanish with the flow run's directory.
    """
    guard()
    settings = Settings()
    if "://" not in settings.store and not settings.store.startswith("/"):
        raise BadInput(
            f"EVOLVE_STORE: expected a whole path or a URL in this worker's environment, got {settings.store!r}; "
            "start the worker with EVOLVE_STORE=s3://bucket/runs, or a directory such as /var/lib/evolve/runs"
        )
    return settings


def _each(run_id: str, do: Callable[[str], R]) -> dict[str, R]:
    """Do something with the run that is meant, or with every run of the store that has finished a generation.

    One that fails does not keep the others from it; Failed names those in the end.
    """
    if run_id:
        return {run_id: do(run_id)}
    done, failed = {}, []
    for name in run_ids(Settings()):
        with tolerated(lambda reason, name=name: failed.append(f"{name}: {reason}")):
            if (open_ref(name).open().last(layout.commit) or 0) < 1:
                get_run_logger().info(f"{name}: has finished no generation yet")
            else:
                done[name] = do(name)
    if failed:
        raise Failed(f"{len(failed)} of {len(done) + len(failed)} runs failed: {'; '.join(failed)}")
    return done
