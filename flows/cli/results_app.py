"""Commands that read the results of a run: report, lineage, replay, evaluate, watch, export."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from evo_core.config.bounds import MOST_EPISODES
from flows.cli.arguments import DEFAULTS, Json, MemberName, Operational, Seed, Store, Study, number

lineage = App(name="lineage", help="The family tree of a run.", help_format="plaintext")


def export(
    run: str,
    /,
    *,
    member: MemberName = None,
    format: Annotated[
        Literal["onnx", "torchscript", "safetensors"],
        Parameter(help="onnx for any runtime, torchscript for libtorch, safetensors to load it again here."),
    ] = "onnx",
    output: Annotated[Path | None, Parameter(help="File to write [RUN-MEMBER with the format's suffix].")] = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Export an agent's deterministic policy, from raw observations to actions, to one file."""
    from flows.cli.export import export as write

    return write(run, member, format, output, store, json=json)


def evaluate(
    run: str,
    /,
    *,
    member: MemberName = None,
    episodes: Annotated[int, number("Full episodes to play.", 1, MOST_EPISODES)] = 100,
    seed: Seed = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Score an agent on fresh episodes, which neither selection nor confirmation used."""
    from flows.cli.evaluate import evaluate as play

    return play(run, member, episodes, seed, store, json=json)


def watch(
    run: str,
    /,
    *,
    member: MemberName = None,
    video: Annotated[Path | None, Parameter(help="Record to this .mp4 instead of opening a window.")] = None,
    episodes: Annotated[int, number("Episodes to show.", 1, MOST_EPISODES)] = 1,
    seed: Seed = None,
    dashboard: Annotated[bool, Parameter(negative="", help="Add the video to the Optuna study.")] = False,
    track: Annotated[str | None, Parameter(help="Add the video to these trackers.")] = None,
    store: Store = None,
    study: Study = None,
) -> int:
    """Watch an agent play, in a window, or in a video if there is no display."""
    from flows.cli.watch import watch as show

    operational = {"store": store, "study": study, "track": track}
    return show(run, member, video, episodes, seed, operational, dashboard=dashboard)


@lineage.default
def show_lineage(
    run: str,
    member: str | None = None,
    /,
    *,
    format: Annotated[Literal["html", "mermaid", "graphml", "json"] | None, Parameter(help="Write this.")] = None,
    output: Annotated[Path | None, Parameter(help="File for it [standard output].")] = None,
    everyone: Annotated[bool, Parameter(name="--all", negative="", help="Extinct lines too.")] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Show the family tree of a run, or describe the history of one member, such as g0003/m05."""
    from flows.cli.lineage import show_lineage as show

    return show(run, member, store, form=format, output=output, everyone=everyone, json=json)


@lineage.command
def diff(run: str, one: str, other: str, /, *, store: Store = None, json: Json = False) -> int:
    """Show the differences between two members, and how they are related."""
    from flows.cli.lineage import show_difference

    return show_difference(run, one, other, store, json=json)


@lineage.command
def rebuild(run: str, /, *, store: Store = None, study: Study = None, json: Json = False) -> int:
    """Rebuild a run's Optuna study from the store."""
    from flows.cli.rebuild import rebuild_lineage

    return rebuild_lineage(run, store, study, json=json)


def report(
    run: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(help="Directory for the page and the pictures [reports/RUN].")] = None,
    dashboard: Annotated[bool, Parameter(negative="", help="Put the figures into the Optuna study too.")] = False,
    store: Store = None,
    study: Study = None,
    json: Json = False,
) -> int:
    """Write an HTML report of a run, which may still be running."""
    from flows.cli.report import write_report

    return write_report(run, store, study, output, dashboard=dashboard, json=json)


def replay(
    run: str,
    /,
    *,
    seeds: Annotated[int, number("Fresh agents, each from its own seed.", 1, 1000)] = 5,
    fixed: Annotated[bool, Parameter(negative="", help="Train with the winner's final hyperparameters only.")] = False,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Train fresh agents along the winner's schedule, to test whether it transfers or the winner was lucky."""
    from flows.cli.replay import replay_run

    return replay_run(run, asdict(operational), seeds=seeds, fixed=fixed, json=json)
