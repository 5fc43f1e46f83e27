"""Replays of a run's winner, or of the schedule in a file, in parallel on the engine."""

from collections.abc import Sequence

from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture

from evo_core.evolution.schedule_replay import replay_seeds
from evo_core.export.schedule_file import Schedule
from evo_core.records.replay_record import Replay, ReplayKind
from flows.observers.observer import observer
from flows.runs import begun_ref, unstored_ref
from tasks.logs.run_failures import fail_with_sentence
from tasks.replay_tasks import replay_member, replay_schedule


@flow(name="evolve-replay", flow_run_name="replay {uid} {kind}", persist_result=False)
@fail_with_sentence
def replay_winner(run_id: str, uid: str, kind: ReplayKind, count: int) -> Sequence[Replay]:
    """Replay a member on `count` seeds; those that are stored are taken as they are."""
    ref = begun_ref(run_id)
    seeds = replay_seeds(ref.config, count)
    futures = [replay_member.submit(ref, uid, kind, number, seed) for number, seed in enumerate(seeds)]
    return _collect(futures)


@flow(name="evolve-replay-schedule", flow_run_name="replay {schedule.member} {kind}", persist_result=False)
@fail_with_sentence
def replay_file(schedule: Schedule, kind: ReplayKind, count: int) -> Sequence[Replay]:
    """Replay the schedule of a file on `count` seeds; nothing is stored."""
    ref = unstored_ref(schedule.config, schedule.run_id)
    seeds = replay_seeds(schedule.config, count)
    return _collect([replay_schedule.submit(ref, schedule, kind, number, seed) for number, seed in enumerate(seeds)])


def _collect(futures: Sequence[PrefectFuture[Replay]]) -> list[Replay]:
    found = []
    for number, future in enumerate(futures):
        try:
            found.append(future.result())
        except KilledWorker as error:
            observer().warned(f"replay {number} ended its worker repeatedly: {error}")
    return found
