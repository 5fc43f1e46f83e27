"""Replays of a run's winner, in parallel on the engine."""

from collections.abc import Sequence

from distributed.scheduler import KilledWorker
from prefect import flow

from evo_core.evolution.schedule_replay import replay_seeds
from evo_core.records.replay_record import Replay, ReplayKind
from flows.observers.observer import observer
from flows.runs import begun_ref
from tasks.logs.run_failures import fail_with_sentence
from tasks.replay_tasks import replay_member


@flow(name="evolve-replay", flow_run_name="replay {uid} {kind}", persist_result=False)
@fail_with_sentence
def replay_winner(run_id: str, uid: str, kind: ReplayKind, count: int) -> Sequence[Replay]:
    """Replay a member on `count` seeds; those that are stored are taken as they are."""
    ref = begun_ref(run_id)
    seeds = replay_seeds(ref.config, count)
    futures = [replay_member.submit(ref, uid, kind, number, seed) for number, seed in enumerate(seeds)]
    found = []
    for number, future in enumerate(futures):
        try:
            found.append(future.result())
        except KilledWorker as error:
            observer().warned(f"replay {number} ended its worker repeatedly: {error}")
    return found
