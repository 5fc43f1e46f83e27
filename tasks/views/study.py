"""The lineage as an Optuna study: one finished trial per (generation, member).

The study is a view of the store. It is brought up to date by adding what is missing, so live recording, catching up
after an outage and rebuilding are the same operation.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from evo_core.config.genes import Gene
from evo_core.config.network import ACTIVATION_NAMES, BoundsConfig
from evo_core.config.objectives import Objective
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.evaluation.episodes import evaluation_seeds
from evo_core.genome.genome import Genome, sizes
from evo_core.records.chain import FailureDetail, Generation, Member, record_hash, uid
from tasks.runs.failed_members import details
from tasks.runs.run_records import Timings
from tasks.runs.run_store import RunStore
from tasks.views.phrases import describe_detail
from tasks.views.trial_values import attributes, parameters
from tasks.views.view import View

FOUNDERS = "founders"
"""Study attribute that identifies its run by the hash of COMMIT 0."""

KEY = "evolve"
"""Trial attribute that is unique in the database: run id and member."""

_ONCE = f"CREATE UNIQUE INDEX IF NOT EXISTS evolve_once ON trial_user_attributes (value_json) WHERE key = '{KEY}'"
"""Makes the database itself reject a second trial of a member, from any recorder."""

CURVE_POINTS = 16

DATABASE_S = 20
"""Timeout for a database that is locked or does not answer, in seconds."""


class ForeignStudy(RuntimeError):
    """A study with this run's id that records another run."""


class StudyRecorder(View):
    """Recorder that brings a run's study up to date with its store."""

    def __init__(self, run: RunStore, config: RunConfig, study_url: str) -> None:
        self._run, self._config, objectives = run, config, config.evaluation.all_objectives
        run.require_in_place()  # a local store's database lies next to its runs, and must not create the directory
        self._storage = open_storage(study_url, make=True)
        self._study = optuna.create_study(
            study_name=run.run_id,
            storage=self._storage,
            directions=[one.direction for one in objectives],
            load_if_exists=True,
        )
        self._name_metrics(objectives)
        self._claim()
        # trials bypass the study, which would keep all of them in memory
        self._id = self._storage.get_study_id_from_name(run.run_id)
        self._recorded = {trial.user_attrs.get("uid") for trial in self._storage.get_all_trials(self._id, False)}
        self._next = self._first_unrecorded()

    def catch_up(self, head: Generation) -> int:
        """Add every missing trial up to a COMMIT; return how many were added."""
        added = 0
        for commit in self._run.commits_from(self._next, head):
            timings = self._run.timings(commit.generation)
            said = details(self._run, commit.members)
            added += sum(self._add(member, timings, said.get(member.uid)) for member in commit.members)
            self._next = commit.generation + 1
        return added

    def _first_unrecorded(self) -> int:
        """Return the first generation that lacks a trial, without reading complete ones from the store."""
        generation = 1
        while all(uid(generation, index) in self._recorded for index in range(self._config.population.least)):
            generation += 1
        # there may be more members than the least, and how many is not known here
        population = self._config.population
        more = self._config.selection.archive or population.most > population.least
        return max(1, generation - 1) if more else generation

    def _name_metrics(self, objectives: Sequence[Objective]) -> None:
        """Name the trials' values, where they are not the mean return alone."""
        if (len(objectives) > 1 or not objectives[0].is_mean_return) and self._study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # dashboards show the name if this works
                self._study.set_metric_names([one.title for one in objectives])

    def _claim(self) -> None:
        """Mark the study as this run's, by the hash of COMMIT 0."""
        if FOUNDERS not in self._study.user_attrs:
            self._study.set_user_attr(FOUNDERS, record_hash(self._run.commit(0)))
        _require_owner(self._study, self._run)

    def _add(self, member: Member, timings: Timings, detail: FailureDetail | None) -> bool:
        if member.uid in self._recorded:
            return False
        self._recorded.add(member.uid)
        try:
            self._storage.create_new_trial(self._id, self._trial(member, timings, detail))
        except IntegrityError:  # another recorder of this run was faster
            return False
        return True

    def _trial(self, member: Member, timings: Timings, detail: FailureDetail | None) -> FrozenTrial:
        trial = create_trial(
            state=TrialState.COMPLETE if member.evaluation else TrialState.FAIL,
            values=_values(member),
            params=parameters(member.offspring.genome),
            distributions=distributions(self._config, member.offspring.genome),
            user_attrs={**attributes(member), "seeds": self._seeds(member), KEY: f"{self._run.run_id} {member.uid}"},
            intermediate_values=learning_curve(member),
        )
        trial.datetime_start, trial.datetime_complete = _times(member.uid, timings)
        trial.user_attrs["failure_detail"] = describe_detail(detail) if detail is not None else None
        trial.user_attrs["times_known"] = trial.datetime_start != trial.datetime_complete
        return trial

    def _seeds(self, member: Member) -> list[int]:
        """Return the seeds of a member's evaluation episodes, which its whole generation shares."""
        return evaluation_seeds(self._config, member.offspring.generation)


def _values(member: Member) -> list[float] | None:
    """Return a member's fitness and further objectives; None for one that failed."""
    if member.evaluation is None:
        return None
    return [member.evaluation.fitness, *(one.value for one in member.evaluation.objectives)]


def _times(uid: str, timings: Timings) -> tuple[datetime, datetime]:
    """Return when a member began and ended, in the naive local time that Optuna stores."""
    known = [phase[uid] for phase in (timings.train, timings.evaluate) if uid in phase]
    if not known:  # the database requires a time; `times_known` is False then
        now = datetime.now()
        return now, now
    local = [moment.astimezone().replace(tzinfo=None) for moment in (known[0].start, known[-1].end)]
    return local[0], local[1]


def _require_owner(study: optuna.Study, run: RunStore) -> None:
    if study.user_attrs.get(FOUNDERS) != record_hash(run.commit(0)):
        raise ForeignStudy(
            f"the study {run.run_id} in this database belongs to another run of that id; name another database by "
            "--study, or delete that study"
        )


def delete_study(run: RunStore, study_url: str) -> bool:
    """Delete a run's study; return False if there is none. ForeignStudy if it records another run of the same id."""
    try:
        storage = open_storage(study_url)
    except KeyError:
        return False
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)]
    if run.run_id not in names:
        return False
    _require_owner(optuna.load_study(study_name=run.run_id, storage=storage), run)
    optuna.delete_study(study_name=run.run_id, storage=storage)
    return True


def rebuild_study(run: RunStore, config: RunConfig, study_url: str) -> int:
    """Delete a run's study and rebuild it from the store alone; return the number of trials.

    ForeignStudy if it records another run of the same id, which is then left unchanged.
    """
    delete_study(run, study_url)
    head = run.head()
    return StudyRecorder(run, config, study_url).catch_up(head) if head is not None else 0


def open_storage(study_url: str, *, make: bool = False) -> BaseStorage:
    """Open an Optuna database; a hung or locked one fails after DATABASE_S.

    A database file and its directory are created only with `make`; else KeyError if there is no such file.
    `journal:///path/to/file` is Optuna's journal: one file, for shared directories where SQLite's locks do not work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = make_url(study_url)
    if url.drivername == "journal":
        path = Path(url.database or "study.journal").absolute()
        _find_file(path, make)
        return JournalStorage(JournalFileBackend(str(path)))
    waits: dict[str, object] = {}
    if url.drivername.startswith("sqlite"):
        waits = {"timeout": DATABASE_S}
        if url.database and not url.database.startswith("file:"):
            _find_file(Path(url.database), make)
    elif url.drivername.startswith("postgresql"):
        waits = {"connect_timeout": DATABASE_S, "options": f"-c statement_timeout={DATABASE_S * 1000}"}
    storage = RDBStorage(study_url, engine_kwargs={"connect_args": waits})
    if waits:  # these databases support partial indexes
        with suppress(ProgrammingError, OperationalError), storage.engine.begin() as connection:
            connection.execute(text(_ONCE))  # without permission, or if locked, continue without it
    return storage


def _find_file(path: Path, make: bool) -> None:
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        raise KeyError(f"there is no database {path}")


def study_number(study_url: str, name: str) -> int:
    """Return the number by which optuna-dashboard identifies a study; KeyError if there is none of this name."""
    storage = open_storage(study_url)
    try:
        return storage.get_study_id_from_name(name)
    finally:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


def distributions(config: RunConfig, genome: Genome) -> dict[str, BaseDistribution]:
    """Return the distributions of a genome's parameters, the same for every trial of a run."""
    return {
        **{name: _distribution(name, gene) for name, gene in config.search.items()},
        **{name: _size_distribution(name, config.network.bounds) for name in sizes(genome)},
        "activation": CategoricalDistribution(list(ACTIVATION_NAMES)),
    }


def _size_distribution(name: str, bounds: BoundsConfig) -> BaseDistribution:
    """Return a size's range by the last part of its name: layers, or nodes, channels, … summed over all layers."""
    noun = name.rpartition(".")[2]
    if noun in ("latent_dim", "feature_dim"):
        return IntDistribution(*bounds.latent_dim)
    if noun == "layers":
        return IntDistribution(*bounds.layers)
    low, high = getattr(bounds, noun)
    return IntDistribution(low * bounds.layers[0], high * bounds.layers[1])


def learning_curve(member: Member) -> dict[int, float]:
    """Return the mean return of training episodes by the steps that the member's lineage was trained for.

    At most CURVE_POINTS points, because every point is a row of the database.
    """
    updates, steps = member.training.curve, member.offspring.lineage_steps
    points: dict[int, float] = {}
    for update in updates:
        steps += update.steps
        if update.episode_return is not None:
            points[steps] = update.episode_return
    stride = max(1, -(-len(points) // CURVE_POINTS))
    return {step: points[step] for step in list(points)[::-1][::stride][::-1]}  # always includes the last one


def _distribution(name: str, gene: Gene) -> BaseDistribution:
    log = gene.scale == "log"
    if evolvable_hyperparameters()[name] is int:
        return IntDistribution(int(gene.min), int(gene.max), log=log)
    return FloatDistribution(gene.min, gene.max, log=log)
