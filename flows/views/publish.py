"""Publish a run's figures and videos in optuna-dashboard and in trackers. Imports optuna only to do so."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.next_steps import evolve_command, store_flag
from flows.outcome import stored_ending
from flows.settings import BadInput, Settings
from tasks.logs.redaction import without_password
from tasks.runs.ref import RunRef
from tasks.views.trackers.recorder import TrackRecorder

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go


def open_study(settings: Settings, run_id: str) -> "optuna.Study":
    """Open the study of a run; BadInput when the database has none."""
    import optuna

    from tasks.views.study import open_storage

    try:
        return optuna.load_study(study_name=run_id, storage=open_storage(settings.study_url))
    except KeyError:
        url = without_password(settings.study_url)
        command = evolve_command("lineage", "rebuild", run_id, **store_flag())
        raise BadInput(
            f"--dashboard: {url} has no study {run_id}; make it: {command}, or name the database by --study"
        ) from None


def dashboard_command(settings: Settings) -> str:
    """Return the command that shows a study in optuna-dashboard."""
    words = ("optuna-dashboard", without_password(settings.study_url), "--artifact-dir", settings.artifact_directory)
    return shlex.join(map(str, words))


def show_figures(study: "optuna.Study", figures: Mapping[str, "go.Figure"]) -> None:
    """Add figures to a study, replacing those of the same names."""
    from optuna_dashboard import save_plotly_graph_object

    for name, figure in figures.items():
        save_plotly_graph_object(study, figure, graph_object_id=name)


def attach_video(ref: RunRef, study: "optuna.Study", video: Path, directory: Path) -> None:
    """Add a video to a study as an artifact; finished trials accept none.

    GoneError if the run is gone, because this must not create the directory of a local store again.
    """
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    ref.open().require_in_place()
    directory.mkdir(parents=True, exist_ok=True)
    upload_artifact(
        artifact_store=FileSystemArtifactStore(directory), file_path=str(video), study_or_trial=study, storage=None
    )


def track_video(ref: RunRef, settings: Settings, video: Path) -> list[str]:
    """Add a video to the run in the given trackers that support videos; return their names."""
    head = ref.open().head()
    assert head is not None
    ending = stored_ending(ref, head)
    directory, packages = settings.tracking_directory, settings.packages
    recorders = {n: TrackRecorder(n, ref.open(), ref.config, directory, packages) for n in settings.trackers}
    able = {name: recorder for name, recorder in recorders.items() if recorder.shows_media}
    for recorder in able.values():
        recorder.show(head, video, ending)
    return list(able)
