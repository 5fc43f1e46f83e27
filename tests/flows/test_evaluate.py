"""evolve evaluate and evolve watch: reproducible scores, and frames of the same episodes."""

import json
import os
import re
import subprocess
import sys
from unittest.mock import patch

import imageio_ffmpeg
import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from evo_core.evaluation.episodes import play_episodes, report_seeds
from evo_core.numerics.provenance import one_thread
from flows.cli.evaluate import evaluate
from flows.cli.member_choice import choose
from flows.cli.watch import watch
from flows.settings import BadInput, Failed
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.study import rebuild_study
from tests import probes
from tests.conftest import make_config
from tests.flows.conftest import ROOT, Cli, make_runs

LIGHT = {"population.size": 2, "evaluation.confirm_episodes": 2}
SMALL = {"TimeLimit": {"max_episode_steps": 12}}
RUNS = {
    "pole": make_config(**LIGHT, **{"training.max_steps": 1024}),
    "short": make_config(**LIGHT, **{"training.max_steps": 512, "env.wrappers": [SMALL]}),
    "lake": make_config(
        "FrozenLake-v1", **LIGHT, **{"training.max_steps": 512, "env.kwargs": {"is_slippery": False, "map_name": "8x8"}}
    ),
    "blind": make_config("Probe/Policy-v0", **LIGHT, **{"training.max_steps": 512}),
    "faulty": make_config("Probe/Faulty-v0", **LIGHT, **{"training.max_steps": 512, "env.kwargs": {"after": 10**6}}),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"), RUNS)


@pytest.fixture(autouse=True)
def no_display(monkeypatch, here):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def scored(capsys, store, run="pole", member=None, episodes=30, seed=None):
    capsys.readouterr()
    assert evaluate(run, member=member, episodes=episodes, seed=seed, store=str(store), json=True) == 0
    return json.loads(capsys.readouterr().out)


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(store, capsys):
    first = scored(capsys, store)
    assert scored(capsys, store) == first
    other = scored(capsys, store, seed=5)
    assert {one["seed"] for one in other["played"]}.isdisjoint(one["seed"] for one in first["played"])
    assert scored(capsys, store, seed=5) == other


def test_the_numbers_are_those_of_the_episodes(store, capsys):
    told, chosen = scored(capsys, store), choose("pole", None, str(store))
    assert (told["member"], told["why"]) == (chosen.member.uid, "the delivered agent")
    seeds = report_seeds(chosen.config, 30)
    with one_thread():
        played = play_episodes(chosen.agent, chosen.config, seeds)
    each = [{"seed": s, "return": r, "length": n} for s, r, n in zip(seeds, *played[:2], strict=True)]
    assert told["played"] == each
    assert told["mean"] == played.returns.mean()
    assert all(one["return"] == one["length"] for one in each)  # as CartPole has it
    assert told["mean_ci95"][0] < told["mean"] < told["mean_ci95"][1]


def test_members_play_the_same_episodes(store, capsys):
    first, second = (scored(capsys, store, member=uid) for uid in ("g0001/m00", "g0001/m01"))
    assert [one["seed"] for one in first["played"]] == [one["seed"] for one in second["played"]]
    assert first["played"] != second["played"]


def test_output_is_a_table_without_json(store, capsys):
    assert evaluate("pole", member="g0001/m00", episodes=1, store=str(store)) == 0
    said = capsys.readouterr().out
    assert "g0001/m00 of pole (asked for): 1 fresh episodes, seed 1" in said
    assert "interquartile mean" in said and "–" in said


@pytest.mark.parametrize(
    ("episodes", "seed", "message"),
    [(0, None, "--episodes: expected at least 1, got 0"), (1, -1, "--seed: expected a whole number from 0, got -1")],
)
def test_invalid_numbers_are_refused(store, episodes, seed, message):
    for command in (
        lambda: evaluate("pole", episodes=episodes, seed=seed, store=str(store)),
        lambda: watch("pole", episodes=episodes, seed=seed, store=str(store)),
    ):
        with pytest.raises(BadInput, match=message):
            command()


def test_an_environment_that_breaks_ends_the_command_with_its_reason(store, monkeypatch):
    monkeypatch.setattr(probes.Faulty, "outcome", lambda self, action: (float("nan"), True))
    with pytest.raises(Failed, match=r"g0001/m0\d cannot be played: nan_reward at step"):
        evaluate("faulty", episodes=3, store=str(store))


def frames_of(path):
    """Return size and frame rate of a video, and its number of frames, from ffmpeg."""
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    size, fps = re.search(r"Video: h264.* (\d+x\d+).* ([\d.]+) fps", said).groups()
    return f"{size} {fps}", imageio_ffmpeg.count_frames_and_secs(str(path))[0]


def test_a_video_is_recorded_without_warnings_about_a_missing_display(store, here, capfd, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert watch("short", video=here / "a.mp4", episodes=1, store=str(store)) == 0
    assert capfd.readouterr().err == ""


def test_a_video_shows_every_step_of_the_episodes_of_evaluate(store, here, capsys):
    told = scored(capsys, store, "short", episodes=2)["played"]
    assert watch("short", video=here / "a.mp4", episodes=2, store=str(store)) == 0
    said = capsys.readouterr().out
    about, count = frames_of(here / "a.mp4")
    assert count == sum(one["length"] + 1 for one in told) <= 2 * 13  # the wrapper's limit holds
    assert about == "600x400 50"
    for one in told:
        assert f"seed {one['seed']}: return {one['return']:.1f} in {one['length']} steps" in said


def test_keyword_arguments_of_the_configuration_hold(store, here):
    assert watch("lake", video=here / "a.mp4", episodes=1, store=str(store)) == 0
    about, _ = frames_of(here / "a.mp4")
    assert about == "512x512 4"  # the map of 8 by 8


def test_without_a_display_a_video_is_written_and_named(store, here, capsys):
    assert watch("short", member="g0001/m01", episodes=1, store=str(store)) == 0
    assert "no display here: recording short-g0001-m01.mp4" in capsys.readouterr().out
    assert frames_of(here / "short-g0001-m01.mp4")[1] > 1


def test_a_video_is_added_to_the_study_and_to_trackers(store, here, capsys):
    url, where = f"sqlite:///{here}/study.db", {"store": str(store), "study": f"{here}/study.db", "track": "mlflow"}
    with pytest.raises(BadInput, match="has no study short; make it: evolve lineage rebuild short"):
        watch("short", episodes=1, **where, dashboard=True)
    run = RunStore(open_store(store.as_uri()), "short")
    rebuild_study(run, RUNS["short"], url)
    with patch.dict(os.environ):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        assert watch("short", video=here / "a.mp4", episodes=1, **where, dashboard=True) == 0
    assert f"--artifact-dir {store}/artifacts" in capsys.readouterr().out
    shown = get_all_artifact_meta(optuna.load_study(study_name="short", storage=url))
    assert [meta.filename for meta in shown] == ["a.mp4"]
    tracked = store / "tracking" / "mlflow"
    assert [path.name for path in tracked.rglob("*.mp4")] == ["a.mp4"]


def test_the_command_prints_one_json_object(store, tmp_path):
    run = Cli(tmp_path, {"PYTHONPATH": str(ROOT)})
    assert run.json("evaluate", "short", "--store", str(store), "--episodes", "2")["episodes"] == 2


def test_with_a_display_a_window_opens_and_no_file_is_written(store, here, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":0")
    assert watch("short", episodes=1, store=str(store)) == 0
    assert "return" in capsys.readouterr().out
    assert list(here.iterdir()) == []


def test_an_environment_without_pictures_is_refused_with_its_render_modes(store, here):
    with pytest.raises(
        BadInput, match=r"Probe/Policy-v0 cannot be watched: expected render mode rgb_array, it has: none"
    ):
        watch("blind", episodes=1, store=str(store))
    with pytest.raises(BadInput, match=r"--video a.avi: expected a name that ends in .mp4"):
        watch("pole", video=here.relative_to(here) / "a.avi", episodes=1, store=str(store))
    with pytest.raises(BadInput, match="there is no directory"):
        watch("pole", video=here / "no" / "a.mp4", episodes=1, store=str(store))
    assert list(here.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(BadInput, match=r"pip install 'evolve-rl\[video\]'"):
        watch("pole", episodes=1, store=str(store))
