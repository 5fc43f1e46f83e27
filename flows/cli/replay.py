"""evolve replay: train fresh agents along the winner's schedule. Imports nothing heavy until the run is found."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from evo_core.config.run_config import RunConfig
from evo_core.records.chain import Confirmation
from evo_core.records.replay_record import Replay, ReplayKind
from flows.cli.arguments import DEFAULTS, Json, Operational, Run, number
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.outcome import delivery
from flows.prefect_server.api import configured_api, describe_api, require_configured_api
from flows.prefect_server.embedded import prefect_api
from flows.runs import open_ref
from flows.settings import BadInput, Settings
from tasks.runs.ref import RunRef

MOST_REPLAYS = 1000
MOST_SCHEDULE = 50_000_000
"""Characters of a schedule's file."""


def replay(
    run_id: Run | None = None,
    /,
    *,
    seeds: Annotated[int, number("Fresh agents, each from its own seed.", 1, MOST_REPLAYS)] = 5,
    fixed: Annotated[bool, Parameter(negative="", help="Train with the winner's final hyperparameters only.")] = False,
    schedule: Annotated[
        Path | None, Parameter(help="Follow this schedule.json of `evolve export --format config`, instead of a run's.")
    ] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Train fresh agents along the winner's schedule, to test whether it transfers or the winner was lucky."""
    if (run_id is None) == (schedule is None):
        raise BadInput("expected a run, or --schedule FILE without a run")
    settings = read_settings(asdict(operational))
    settings.check_reach(configured_api())
    settings.export()
    kind: ReplayKind = "fixed" if fixed else "schedule"
    console = Console(stderr=json)
    if schedule is not None:
        return _report(*_replay_file(settings, schedule, kind, seeds, console), seeds, console, json=json)
    assert run_id is not None
    ref = open_ref(run_id)
    delivered = delivery(ref)
    ref.environment()  # refuses before anything is started
    winner = delivered.elite.uid
    replays = _stored(ref, winner, kind, seeds)
    if len(replays) < seeds:
        replays = _play(
            settings, seeds, winner, console, lambda flows: flows.replay_winner, run_id, winner, kind, seeds
        )
    source = Source(run_id, winner, kind, ref.config, delivered.confirmed)
    return _report(source, replays, seeds, console, json=json)


@dataclass(frozen=True, slots=True)
class Source:
    """Whose schedule is replayed: a member of a run, with its score on fresh seeds, if known."""

    run_id: str
    member: str
    kind: ReplayKind
    config: RunConfig
    confirmed: Confirmation | None


def _replay_file(
    settings: Settings, file: Path, kind: ReplayKind, seeds: int, console: Console
) -> tuple[Source, Sequence[Replay]]:
    from evo_core.envs.inspection import check_environment
    from evo_core.export.schedule_file import read_schedule
    from flows.cli.flags import read_text

    schedule = read_schedule(read_text(file, "--schedule ", MOST_SCHEDULE).encode(), f"--schedule {file}")
    check_environment(schedule.config, settings.packages)
    source = Source(schedule.run_id, schedule.member, kind, schedule.config, schedule.confirmed)
    replays = _play(settings, seeds, schedule.member, console, lambda flows: flows.replay_file, schedule, kind, seeds)
    return source, replays


def _report(source: Source, replays: Sequence[Replay], seeds: int, console: Console, *, json: bool) -> int:
    from evo_core.evolution.schedule_replay import replay_seeds
    from flows.report.replay_statistics import transfer_of

    transfer = transfer_of(replays, source.confirmed, source.config.evaluation.objective)
    confirmed = source.confirmed
    if json:
        emit(
            {
                "run_id": source.run_id,
                "winner": source.member,
                "kind": source.kind,
                "seeds": replay_seeds(source.config, seeds),
                "means": transfer.means,
                "mean": transfer.mean,
                "ci95": transfer.ci95,
                "as_good": transfer.as_good,
                "failed": transfer.failed,
                "winner_confirmed": confirmed.model_dump(mode="json") if confirmed else None,
            }
        )
    else:
        console.print(transfer.describe(confirmed), highlight=False)
    return 0 if transfer.means else 1


def _stored(ref: RunRef, winner: str, kind: ReplayKind, count: int) -> Sequence[Replay]:
    found = ref.open().replays(winner, kind)
    return [found[number] for number in range(count) if number in found]


def _play(
    settings: Settings, seeds: int, winner: str, console: Console, choose: Callable[[Any], Any], *arguments: object
) -> Sequence[Replay]:
    """Run a flow of flows/replay_winner.py, which `choose` takes from that module, on an engine for all seeds."""
    print(f"Prefect: {describe_api(require_configured_api())}", file=sys.stderr)
    console.print(f"replaying {winner} on {seeds} seeds …", style="dim")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with prefect_api():
        from flows import replay_winner
        from flows.engine.runner import open_engine
        from flows.prefect_server.stored_results import no_stored_results
        from tasks.logs.lost_connections import silence_lost_connections

        silence_lost_connections()
        with no_stored_results(), open_engine(settings, seeds) as runner:
            found: Sequence[Replay] = choose(replay_winner).with_options(task_runner=runner)(*arguments)
    return found
