"""Trackers show the numbers of the store, each once, whatever happens to the process; read back by the tools."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from evo_core.evaluation.run_end import Ending
from evo_core.local import train_on_policy
from evo_core.training import record_lost_member
from flows.settings import BadInput, Settings
from tasks.views.trackers import TRACKERS, MissingExtra, make_tracker
from tasks.views.trackers.recorder import ForeignTracking, TrackRecorder
from tests.conftest import make_config
from tests.lineages import store_run
from tests.services import wait_for
from tests.tracking import assert_shows, events_of, history_of, records_of, runs_of

CONFIG = make_config(**{"search.gamma": {"min": 0.9, "max": 0.999, "scale": "log1m"}})


@pytest.fixture(scope="module")
def result():
    return train_on_policy(CONFIG)


@pytest.fixture(scope="module")
def ending(result):
    return Ending(result.status, result.elite, result.confirmed)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Ignore the user's settings of trackers, and keep them offline."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")


@pytest.fixture(scope="module", autouse=True)
def _service():
    """End W&B's service after these tests, or processes of other tests would use it."""
    import wandb  # a CPU second, which every test process would take

    yield
    wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture
def run(tmp_path, result):
    return stored(tmp_path, result.commits)


@pytest.fixture
def recorder(tmp_path, run):
    return lambda name: TrackRecorder(name, run, CONFIG, tmp_path / "tracking")


def interrupt(recorder):
    """Close a recorder; wait for the next second, by which TensorBoard orders its files."""
    recorder.close()
    if (second := int(time.time())) and "tensorboard" in type(recorder._tracker).__module__:
        wait_for(lambda: int(time.time()) > second)


def stored(directory, commits, config=CONFIG):
    return store_run(directory.as_uri(), "run", config, commits)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_opened_again_and_again_shows_every_generation_once(name, tmp_path, result, ending, recorder):
    first = recorder(name)
    assert first.catch_up(result.commits[1]) == 1
    assert first.catch_up(result.commits[1]) == 0
    interrupt(first)
    second = recorder(name)
    second.catch_up(result.commits[2])
    second.finish(ending)
    interrupt(second)
    extended = recorder(name)
    extended.catch_up(result.commits[3])
    extended.finish(ending)
    assert_shows(name, tmp_path / "tracking", "run", result.commits)
    third = recorder(name)
    assert third.catch_up(result.commits[3]) == 0
    third.finish(ending)
    third.close()
    assert_shows(name, tmp_path / "tracking", "run", result.commits)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_partially_logged_generation_appears_once(name, tmp_path, result, ending, recorder):
    broken = recorder(name)
    broken.catch_up(result.commits[1])
    member = result.commits[2].members[2]
    torn = result.commits[2].model_copy(update={"members": (*result.commits[2].members[:2], _Torn(member))})
    with pytest.raises(RuntimeError, match="torn"):
        broken.catch_up(torn)
    interrupt(broken)
    again = recorder(name)
    again.catch_up(result.commits[3])
    again.finish(ending)
    assert_shows(name, tmp_path / "tracking", "run", result.commits)


class _Torn:
    """A member whose attributes raise, so that logging stops there."""

    def __init__(self, member):
        self.offspring = member.offspring

    def __getattr__(self, name):
        raise RuntimeError("torn")


def test_a_truncated_csv_file_is_repaired(tmp_path, result, recorder):
    recorder("csv").catch_up(result.commits[2])
    path = tmp_path / "tracking" / "csv" / "run" / "members.csv"
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 700, 40, 0):
        path.write_bytes(whole[:length])
        recorder("csv").catch_up(result.commits[3])
        assert_shows("csv", tmp_path / "tracking", "run", result.commits)
    assert yaml.safe_load((path.parent / "config.yaml").read_text()) == CONFIG.model_dump(mode="json")


def test_a_csv_file_keeps_the_columns_that_it_began_with(tmp_path, result, recorder):
    recorder("csv").catch_up(result.commits[1])
    path = tmp_path / "tracking" / "csv" / "run" / "members.csv"
    with path.open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "training/lr"} for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    recorder("csv").catch_up(result.commits[3])
    assert "training/lr" not in path.read_text()
    assert_shows("csv", tmp_path / "tracking", "run", result.commits)


@pytest.mark.parametrize("name", TRACKERS)
def test_members_beside_the_slots_of_the_population_are_not_shown(name, tmp_path):
    config = make_config(**{"selection.archive": 2})
    commits = train_on_policy(config).commits
    assert len(commits[3].members) == 5
    run = stored(tmp_path, commits, config)
    for head in commits[2:]:  # opened again for the last one
        recorder = TrackRecorder(name, run, config, tmp_path / "tracking")
        recorder.catch_up(head)
        interrupt(recorder)
    slots = [commit.model_copy(update={"members": commit.members[:3]}) for commit in commits]
    assert_shows(name, tmp_path / "tracking", "run", slots)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_population_of_changing_size_is_shown_slot_by_slot(name, tmp_path):
    adaptive = {"population.sizing": "adaptive", "population.patience": 1, "training.max_steps": 768 * 4}
    config = make_config(**adaptive)
    commits = train_on_policy(config).commits
    assert {len(commit.members) for commit in commits[1:]} == {1, 2}
    run = stored(tmp_path, commits, config)
    for head in (commits[2], commits[-1]):  # opened again for the last one
        recorder = TrackRecorder(name, run, config, tmp_path / "tracking")
        recorder.catch_up(head)
        interrupt(recorder)
    assert_shows(name, tmp_path / "tracking", "run", commits)


@pytest.mark.parametrize("name", TRACKERS)
def test_failed_members_leave_a_gap(name, tmp_path, result, ending):
    commit = result.commits[1]
    failed = record_lost_member(commit.members[1].offspring, None, "lost")
    commits = [result.commits[0], commit.model_copy(update={"members": (commit.members[0], failed, commit.members[2])})]
    recorder = TrackRecorder(name, stored(tmp_path, commits), CONFIG, tmp_path / "tracking")
    recorder.catch_up(commits[1])
    recorder.finish(ending)
    assert_shows(name, tmp_path / "tracking", "run", commits)


def test_a_directory_of_another_run_of_the_same_id_is_left_alone(tmp_path, result, recorder):
    recorder("csv").catch_up(result.commits[1])
    other = train_on_policy(make_config(seed=2)).commits
    with pytest.raises(ForeignTracking, match="another run of the id run"):
        TrackRecorder("csv", stored(tmp_path / "other", other, make_config(seed=2)), CONFIG, tmp_path / "tracking")


def test_tensorboard_has_configuration_lineage_and_hyperparameters(tmp_path, result, ending, recorder):
    recorder("tensorboard").catch_up(result.commits[3])
    last = recorder("tensorboard")
    last.catch_up(result.commits[3])
    last.finish(ending)
    directory = tmp_path / "tracking" / "tensorboard" / "run"
    events = events_of(directory / "population")
    texts = {
        tag: [text.tensor_proto.string_val[0].decode() for text in events.Tensors(f"{tag}/text_summary")]
        for tag in ("config", "lineage", "delivered")
    }
    assert "    env:\n      id: CartPole-v1" in texts["config"][0]
    assert [len(texts[tag]) for tag in texts] == [1, 3, 1]
    member = result.commits[2].members[1]
    assert f"| {member.uid} | 2 | 1 | {member.offspring.parent} |" in texts["lineage"][1]
    assert texts["delivered"][0].startswith(f"budget spent: {result.elite.uid}, fitness {result.elite.fitness}")
    plugin = events_of(directory / "member 01").summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"gamma" in plugin and b"batch_size" in plugin


def test_wandb_has_configuration_axes_lineage_and_the_delivered_agent(tmp_path, result, ending, recorder):
    last = recorder("wandb")
    last.catch_up(result.commits[3])
    last.finish(ending)
    records = list(records_of(tmp_path / "tracking", "run"))
    (begun,) = [record["run"] for record in records if record["type"] == "run"]
    config = begun["config"]["update"]
    assert config["env"]["id"] == "CartPole-v1"
    assert config["search"]["gamma"]["scale"] == "log1m"
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    assert {"member 01/*": "member 01/steps", "*": "train_steps"}.items() <= {
        metric["glob_name"]: metric["step_metric"] for metric in metrics if "glob_name" in metric
    }.items()
    rows = history_of(tmp_path / "tracking", "run")
    assert [row["generation"] for row in rows if "generation" in row] == [1, 2, 3]
    assert rows[2]["member 01/parent"] == result.commits[3].members[1].offspring.parent
    (table,) = (tmp_path / "tracking" / "wandb").rglob("lineage*.table.json")
    data = json.loads(table.read_text())
    assert [row[data["columns"].index("uid")] for row in data["data"]] == [
        member.uid for commit in result.commits for member in commit.members
    ]
    summary = {}
    for record in records:
        summary |= record.get("summary", {}).get("update", {})
    assert (summary["delivered"], summary["confirmed"]) == (result.elite.uid, result.confirmed.mean)


def test_mlflow_has_parameters_nested_runs_lineage_and_the_delivered_agent(tmp_path, result, ending, recorder):
    last = recorder("mlflow")
    last.catch_up(result.commits[3])
    (tmp_path / "clip.mp4").write_bytes(b"video")
    last._tracker.media(tmp_path / "clip.mp4")
    last.finish(ending)
    client, runs = runs_of(tmp_path / "tracking", "run")
    parts = {run.data.tags["evolve.part"]: run for run in runs}
    parent = parts.pop("population")
    assert sorted(parts) == ["member 00", "member 01", "member 02"]
    assert {run.data.tags["mlflow.parentRunId"] for run in parts.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.info.run_name == "run"
    assert (parent.data.params["env.id"], parent.data.params["algorithm.lr"]) == ("CartPole-v1", "0.001")
    assert parent.data.tags["evolve.delivered"] == result.elite.uid
    file = client.download_artifacts(parent.info.run_id, "lineage.json", str(tmp_path))
    lineage = json.loads(Path(file).read_text())
    assert [row["uid"] for row in lineage["members"]] == [m.uid for commit in result.commits for m in commit.members]
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "media")] == ["media/clip.mp4"]


def test_a_video_is_added_beside_lineage_and_curves(tmp_path, result, ending, recorder):
    (tmp_path / "clip.mp4").write_bytes(b"video")
    last = recorder("wandb")
    last.catch_up(result.commits[3])
    last.finish(ending)
    recorder("wandb").show(result.commits[3], tmp_path / "clip.mp4", ending)
    kept = tmp_path / "tracking" / "wandb"
    assert [path.suffix for path in kept.rglob("media/videos/*")] == [".mp4"]
    assert len(list(kept.rglob("lineage*.table.json"))) == 1
    rows = history_of(tmp_path / "tracking", "run")
    assert [row["generation"] for row in rows if "generation" in row] == [1, 2, 3]
    shown = [{name.partition(".")[0] for name in row} for row in rows]
    assert [names >= {"lineage", "clip"} for names in shown] == [False, False, False, True]
    assert not recorder("csv").shows_media and recorder("mlflow").shows_media


@pytest.mark.slow
def test_the_database_of_mlflow_appears_with_all_its_tables(tmp_path):
    from mlflow import MlflowClient

    from tasks.views.trackers.mlflow import _database

    use = "from tasks.views.trackers.mlflow import *; from tasks.views.trackers.mlflow import _database; "
    use += f"MlflowClient(_database(Path({str(tmp_path)!r}))).search_experiments()"
    process = subprocess.Popen([sys.executable, "-c", use], stderr=subprocess.PIPE)
    database = tmp_path / "mlflow.db"
    wait_for(lambda: database.exists() or process.poll() is not None)
    process.kill()
    process.communicate()

    def version():
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchone()

    first = version()  # all tables are there as soon as the file is
    assert [experiment.name for experiment in MlflowClient(_database(tmp_path)).search_experiments()] == ["Default"]
    assert version() == first


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, TRACKERS[name], raising=False)
    with pytest.raises(MissingExtra, match=rf"pip install 'evolve-rl\[{name}\]'"):
        make_tracker(name)
    with pytest.raises(BadInput, match=rf"--track: {name} is not installed"):
        Settings(track=f"csv,{name}").check_trackers()
    Settings(track="csv").check_trackers()
