"""Reading back what trackers wrote, each with the tool's own reader."""

import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from tasks.views.trackers.measures import generation_measures, member_measures, member_steps
from tests.conftest import make_config

WANDB = Path(sys.executable).parent / "wandb"

Series = dict[tuple[str, str], list[tuple[int, float]]]
"""Points (step, value) by series and name of the measure. A series is a member's slot, or the population."""


def expected(commits):
    """Return the series that follow from the store's COMMITs, of a run whose fitness is the mean return."""
    found = defaultdict(list)
    for commit in commits[1:]:
        for member in commit.members:
            for name, value in member_measures(member).items():
                found[f"member {member.offspring.index:02d}", name].append((member_steps(member), float(value)))
        for name, value in generation_measures(commit, make_config()).items():
            found["population", name].append((commit.train_steps, float(value)))
    return dict(found)


def rounded(series):
    """The same in the 32 bits that TensorBoard keeps."""
    return {key: [(step, float(np.float32(value))) for step, value in points] for key, points in series.items()}


def read_csv(tracking, run_id):
    """Read the CSV file; it has no rows of the population."""
    found = defaultdict(list)
    with (tracking / "csv" / run_id / "members.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and (name in ("fitness", "generation", "failed") or name in _measured(row)):
                    found[f"member {int(row['member']):02d}", name].append((int(row["lineage_steps"]), float(value)))
    return dict(found)


def _measured(row):
    names = list(row)
    return names[names.index("fitness_sem") :]


def read_tensorboard(tracking, run_id):
    """Read the event files through TensorBoard's accumulator, which purges as TensorBoard does."""
    found = {}
    for directory in (tracking / "tensorboard" / run_id).iterdir():
        if directory.is_dir():
            events = events_of(directory)
            for tag in events.Tags()["scalars"]:
                found[directory.name, tag] = [(point.step, point.value) for point in events.Scalars(tag)]
    return found


def events_of(directory):
    """Load the events of one series."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow to import, like mlflow

    return EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def read_wandb(tracking, run_id):
    """Read W&B's own log of an offline run with its inspector; the series are put together as its charts do."""
    found = defaultdict(list)
    for row in history_of(tracking, run_id):
        for key, value in row.items():
            series, _, name = key.partition("/")
            if key.startswith("member ") and name not in ("steps", "mutation", "parent"):
                found[series, name].append((row[f"{series}/steps"], float(value)))
            elif not key.startswith(("_", "lineage", "member ")) and key != "train_steps":
                found["population", key].append((row["train_steps"], float(value)))
    return dict(found)


def history_of(tracking, run_id):
    """Rows of history of all of a run's offline directories."""
    return [record["history"]["item"] for record in records_of(tracking, run_id) if record["type"] == "history"]


def records_of(tracking, run_id):
    """Every record of all of a run's offline directories."""
    logs = sorted((tracking / "wandb" / run_id / "wandb").glob("offline-run-*/*.wandb"))
    assert logs
    for log in logs:
        command = [WANDB, "leet", "inspect", str(log), "--json"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        yield from (json.loads(line) for line in out.splitlines() if line.startswith("{"))


def read_mlflow(tracking, run_id):
    """Read the metrics of a run and its nested runs through MLflow's client."""
    client, runs = runs_of(tracking, run_id)
    found = {}
    for run in runs:
        for name in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, name)
            found[run.data.tags["evolve.part"], name] = [(point.step, point.value) for point in history]
    return found


def runs_of(tracking, run_id):
    """MLflow's client and the runs that belong to a run of ours."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tracking}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("evolve")
    return client, list(client.search_runs([experiment.experiment_id], f"tags.`evolve.run` = '{run_id}'"))


READERS = {"csv": read_csv, "tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow}


def assert_shows(name, tracking, run_id, commits):
    """Check that a tool holds exactly the numbers of the store, each once."""
    wanted = expected(commits)
    if name == "csv":
        wanted = {key: points for key, points in wanted.items() if key[0] != "population"}
    if name == "tensorboard":
        wanted = rounded(wanted)
    found = READERS[name](tracking, run_id)
    assert {key: sorted(points) for key, points in found.items()} == {key: sorted(p) for key, p in wanted.items()}
