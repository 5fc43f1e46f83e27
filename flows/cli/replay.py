"""evolve replay: train fresh agents along the winner's schedule. Imports nothing heavy until the run is found."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from evo_core.records.replay_record import Replay, ReplayKind
from flows.cli.arguments import DEFAULTS, Json, Operational, Run, number
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.outcome import delivery
from flows.prefect_server.api import configured_api, describe_api, require_configured_api
from flows.prefect_server.embedded import prefect_api
from flows.runs import open_ref
from flows.settings import Settings
from tasks.runs.ref import RunRef

MOST_REPLAYS = 1000


def replay(
    run_id: Run,
    /,
    *,
    seeds: Annotated[int, number("Fresh agents, each from its own seed.", 1, MOST_REPLAYS)] = 5,
    fixed: Annotated[bool, Parameter(negative="", help="Train with the winner's final hyperparameters only.")] = False,
    operational: Operational = DEFAULTS,
    json: Json = False,
) -> int:
    """Train fresh agents along the winner's schedule, to test whether it transfers or the winner was lucky."""
    settings = read_settings(asdict(operational))
    settings.check_reach(configured_api())
    settings.export()
    ref = open_ref(run_id)
    kind: ReplayKind = "fixed" if fixed else "schedule"
    delivered = delivery(ref)
    ref.environment()  # refuses before anything is started
    from evo_core.evolution.schedule_replay import replay_seeds
    from flows.report.replay_statistics import transfer_of

    winner, confirmed = delivered.elite.uid, delivered.confirmed
    console = Console(stderr=json)
    replays = _stored(ref, winner, kind, seeds)
    if len(replays) < seeds:
        print(f"Prefect: {describe_api(require_configured_api())}", file=sys.stderr)
        console.print(f"replaying {winner} on {seeds} seeds …", style="dim")
        replays = _play(settings, run_id, winner, kind, seeds)
    transfer = transfer_of(replays, confirmed, ref.config.evaluation.objective)
    if json:
        emit(
            {
                "run_id": run_id,
                "winner": winner,
                "kind": kind,
                "seeds": replay_seeds(ref.config, seeds),
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


def _play(settings: Settings, run_id: str, winner: str, kind: ReplayKind, count: int) -> Sequence[Replay]:
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with prefect_api():
        from flows.engine.runner import open_engine
        from flows.prefect_server.stored_results import no_stored_results
        from flows.replay_winner import replay_winner
        from tasks.logs.lost_connections import silence_lost_connections

        silence_lost_connections()
        with no_stored_results(), open_engine(settings, count) as runner:
            found: Sequence[Replay] = replay_winner.with_options(task_runner=runner)(run_id, winner, kind, count)
    return found
