"""evolve watch: show an agent playing, in a window or a video. Imports torch only when it plays."""

import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from rich.console import Console

from evo_core.config.bounds import MOST_EPISODES
from evo_core.config.run_config import RunConfig
from evo_core.envs.making import close_env, make_env
from evo_core.envs.sync_vector import SyncEnvs
from flows.cli.arguments import Deliver, MemberName, Run, Seed, Store, Study, number
from flows.cli.extras import require_extra
from flows.cli.live_view import follow_run
from flows.cli.member_choice import choose, require_episodes
from flows.cli.output import require_directory
from flows.cli.session import read_settings
from flows.runs import open_ref
from flows.settings import BadInput, Failed, Settings
from flows.views.publish import attach_video, dashboard_command, open_study, track_video
from tasks.views.phrases import describe_number

if TYPE_CHECKING:
    import optuna

    from evo_core.evaluation.episodes import Episodes

Mode = Literal["human", "rgb_array"]
FRAMES_PER_S = 30
"""Speed of a video whose environment does not state one (`render_fps`)."""


def watch(
    run_id: Run,
    /,
    *,
    member: MemberName = None,
    deliver: Deliver = None,
    video: Annotated[Path | None, Parameter(help="Record to this .mp4 instead of opening a window.")] = None,
    episodes: Annotated[int, number("Episodes to show.", 1, MOST_EPISODES)] = 1,
    seed: Seed = None,
    dashboard: Annotated[bool, Parameter(negative="", help="Add the video to the Optuna study.")] = False,
    track: Annotated[str | None, Parameter(help="Add the video to these trackers.")] = None,
    live: Annotated[bool, Parameter(negative="", help="Follow the run itself in the terminal.")] = False,
    store: Store = None,
    study: Study = None,
) -> int:
    """Watch an agent play, in a window, or in a video if there is no display; with --live, watch the run."""
    if live:
        others = {"--member": member, "--deliver": deliver, "--video": video, "--seed": seed, "--track": track}
        others |= {"--study": study, "--dashboard": dashboard or None, "--episodes": episodes if episodes > 1 else None}
        return _follow(run_id, store, others)
    require_episodes(episodes, seed)
    settings = read_settings({"store": store, "study": study, "track": track})
    settings.check_trackers()
    settings.export()
    shared = dashboard or track is not None
    mode: Mode = "human" if video is None and not shared and has_display() else "rgb_array"
    if mode == "rgb_array":
        require_extra("video", "imageio_ffmpeg")
    if video is not None and video.suffix != ".mp4":
        raise BadInput(f"--video {video}: expected a name that ends in .mp4")
    require_directory("--video", video)
    chosen = choose(run_id, member, settings.store, deliver=deliver)
    from evo_core.evaluation.episodes import play_episodes, report_seeds

    study_shown = open_study(settings, run_id) if dashboard else None
    config, fps = _rendered(chosen.config, mode)
    path = video or Path(f"{run_id}-{chosen.member.uid.replace('/', '-')}.mp4")
    console = Console(highlight=False, soft_wrap=True)
    if mode == "rgb_array":
        console.print(f"{'no display here: ' if not (video or shared) else ''}recording {path}")
    shown = nullcontext(_ignore) if mode == "human" else _recording(path, fps)
    try:
        with chosen.playing(), shown as on_step:
            for one in report_seeds(chosen.config, episodes, seed):
                played = play_episodes(chosen.agent, config, [one], on_step)
                console.print(f"{chosen.member.uid} ({chosen.why}), seed {one}: {_describe(played, config)}")
    except KeyboardInterrupt:  # the usual end of watching
        return 1
    _publish(run_id, settings, path, study_shown, console, track=shared)
    return 0


def _describe(played: "Episodes", config: RunConfig) -> str:
    """Describe an episode: its return, its steps, and what it is worth if that is not the return."""
    said = f"return {played.returns[0]:.1f} in {played.steps:,} steps"
    if config.evaluation.fitness == "return":
        return said
    return f"{said}, {config.evaluation.objective.name} {describe_number(float(played.values[0]))}"


def _publish(
    run_id: str, settings: Settings, path: Path, study: "optuna.Study | None", console: Console, *, track: bool
) -> None:
    """Add a video to the study and to trackers, where that was asked for."""
    if study is not None:
        attach_video(open_ref(run_id), study, path, settings.artifact_directory)
        console.print(f"the video is in the study: {dashboard_command(settings)}")
    if track and settings.trackers:
        trackers = track_video(open_ref(run_id), settings, path)
        console.print(f"the video is with {', '.join(trackers)}" if trackers else "none of these trackers shows videos")


def _follow(run_id: str, store: str | None, others: Mapping[str, object]) -> int:
    """Follow a run in the terminal; BadInput if a flag about an agent that plays was given too."""
    if given := [flag for flag, value in others.items() if value is not None]:
        raise BadInput(f"{given[0]}: is about an agent that plays, and --live follows the run; give one of them")
    read_settings({"store": store}).export()
    return follow_run(run_id)


def has_display() -> bool:
    """Return True if a window can be opened."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _rendered(config: RunConfig, mode: Mode) -> tuple[RunConfig, float]:
    """Enable rendering of a configuration's environment; return its frame rate too. Raise BadInput if it cannot."""
    env = make_env(config.env)
    modes, fps = env.metadata.get("render_modes") or [], env.metadata.get("render_fps") or FRAMES_PER_S
    close_env(env)
    if mode not in modes and "rgb_array" not in modes:  # Gymnasium shows frames in a window of its own
        known = ", ".join(modes) or "none"
        wanted = "rgb_array" if mode == "rgb_array" else "human or rgb_array"
        raise BadInput(f"{config.env.id} cannot be watched: expected render mode {wanted}, it has: {known}")
    section = config.env.model_copy(update={"kwargs": {**config.env.kwargs, "render_mode": mode}})
    return config.model_copy(update={"env": section}), float(fps)


def _ignore(envs: SyncEnvs) -> None:
    """Do nothing: the environment shows itself."""


@contextmanager
def _recording(path: Path, fps: float) -> Iterator[Callable[[SyncEnvs], None]]:
    """Record what an environment renders after every step; an incomplete recording is kept."""
    import imageio_ffmpeg

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window: SDL would look for a display, and complain
    writer: Generator[None, Any, None] | None = None

    def record(envs: SyncEnvs) -> None:
        nonlocal writer
        frame: Any = envs.envs[0].render()
        if not (isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.dtype == np.uint8):
            raise Failed(f"{envs.name}: expected frames [height, width, 3] of bytes from render, got {type(frame)}")
        height, width = frame.shape[:2]
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # H.264 requires even sizes
        if writer is None:
            size = frame.shape[1], frame.shape[0]
            writer = imageio_ffmpeg.write_frames(str(path), size, fps=fps, macro_block_size=1)
            writer.send(None)
        writer.send(np.ascontiguousarray(frame))

    try:
        yield record
    finally:
        if writer is not None:
            writer.close()
