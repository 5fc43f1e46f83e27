"""MLflow tracker: a run with the configuration as parameters, and a nested run per slot with its metrics.

MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME apply; without the first, everything is stored in a SQLite database.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation
from tasks.views.trackers import tracker as base
from tasks.views.trackers.measures import (
    Measures,
    flat_config,
    generation_measures,
    lineage_row,
    member_measures,
    member_steps,
)
from tasks.views.trackers.tracker import member_name

PARAMETERS_AT_ONCE = 100
LONGEST_PARAMETER = 500
"""Limit that every version of MLflow's server accepts."""


class Tracker(base.Tracker):
    """MLflow tracker. It finds its runs again by their tags, and does not send again what they hold."""

    variables = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")

    def begin(self, run: base.TrackedRun) -> int:
        """Find the run and its nested runs, or create them."""
        self._run = run
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs every table that it creates
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or _database(run.directory.parent))
        self._experiment = self._find_experiment(run.directory.parent)
        self._population = self._find_run("population", run.run_id, {})
        self._members = [
            self._find_run(member_name(index), member_name(index), {MLFLOW_PARENT_RUN_ID: self._population})
            for index in range(run.config.population.size)
        ]
        self._held = {run_id: self._generations(run_id) for run_id in (self._population, *self._members)}
        for run_id in self._held:
            self._client.update_run(run_id, status="RUNNING")
        self._log_parameters()
        return max(self._held[self._population], default=0)  # it is written last

    def log(self, commit: Generation) -> None:
        """Add a point to every metric."""
        ends = self._run.ends(commit)
        for member, at in zip(commit.members, ends, strict=True):
            run_id = self._members[member.offspring.index]
            self._add(run_id, member_measures(member), member_steps(member), commit.generation, at)
        self._add(
            self._population,
            generation_measures(commit, self._run.config),
            commit.train_steps,
            commit.generation,
            max(ends),
        )

    def finish(self, ending: Ending) -> None:
        """Add the family tree as an artifact and the delivered agent as tags, and mark the runs as finished."""
        rows = [lineage_row(member) for member in self._run.members()]
        self._client.log_dict(self._population, {"members": rows}, "lineage.json")
        tags = {"status": ending.status, "delivered": ending.elite.uid}
        if ending.confirmed:
            tags["confirmed"] = repr(ending.confirmed.mean)
        for name, value in tags.items():
            self._client.set_tag(self._population, f"evolve.{name}", value)
        for run_id in self._held:
            self._client.set_terminated(run_id)

    def media(self, path: Path) -> None:
        """Add an image or video as an artifact."""
        self._client.log_artifact(self._population, str(path), "media")

    def _find_experiment(self, directory: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "evolve"
        if (found := self._client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        location = None if elsewhere else (directory / "artifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=location))

    def _find_run(self, part: str, name: str, tags: dict[str, str]) -> str:
        own = {"evolve.run": self._run.run_id, "evolve.founders": self._run.founders, "evolve.part": part}
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in own.items())
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        if found:
            return str(found[0].info.run_id)
        created = self._client.create_run(self._experiment, tags={**own, **tags, MLFLOW_RUN_NAME: name}, run_name=name)
        return str(created.info.run_id)

    def _generations(self, run_id: str) -> set[int]:
        """Return the generations that a run holds; a generation's metrics go in one request, its number last."""
        return {round(metric.value) for metric in self._client.get_metric_history(run_id, "generation")}

    def _add(self, run_id: str, measures: Measures, step: int, generation: int, at: float) -> None:
        if generation not in self._held[run_id]:
            metrics = [Metric(name, float(value), int(at * 1000), step) for name, value in measures.items()]
            self._client.log_batch(run_id, metrics=metrics)
            self._held[run_id].add(generation)

    def _log_parameters(self) -> None:
        """Log the configuration; parameters are immutable, so an extended budget is logged as a tag."""
        known = self._client.get_run(self._population).data.params
        parameters = [
            Param(name, str(value)[:LONGEST_PARAMETER])
            for name, value in flat_config(self._run.config).items()
            if name not in known
        ]
        for first in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self._client.log_batch(self._population, params=parameters[first : first + PARAMETERS_AT_ONCE])
        budget = RunTag("evolve.max_steps", str(self._run.config.training.max_steps))
        self._client.log_batch(self._population, tags=[budget])


def _database(directory: Path) -> str:
    """Return the URI of the database of all runs. A new one appears with all its tables, or not at all: MLflow refuses
    one whose creation was cut off."""
    database = directory / "mlflow.db"
    if not database.exists():
        with TemporaryDirectory(dir=directory) as place, suppress(FileExistsError):
            MlflowClient(f"sqlite:///{place}/mlflow.db").search_experiments(max_results=1)
            os.link(f"{place}/mlflow.db", database)
    return f"sqlite:///{database}"
