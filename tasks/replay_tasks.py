"""Prefect tasks for replays, one fresh agent each. A replay whose record exists is not run again."""

from dataclasses import replace

from evo_core.evolution.schedule_replay import replay, replay_genomes
from evo_core.export.schedule_file import Schedule
from evo_core.lineage.tree import Lineage
from evo_core.records.replay_record import Replay, ReplayKind
from tasks.member_tasks import member_task
from tasks.runs.ref import RunRef
from tasks.worker.watchdog import watched


@member_task(name="replay", task_run_name="replay {uid} {kind} {number}")
def replay_member(run: RunRef, uid: str, kind: ReplayKind, number: int, seed: int) -> Replay:
    """Train a fresh agent along a member's schedule and store the result.

    The deadline is that of a member's phase, times two phases for every generation of the lineage.
    """
    store = run.open()
    if (done := store.replay(uid, kind, number)) is not None:
        return done
    line = Lineage(store.commits()).line(uid)
    deadline = run.limits.deadline_s
    limits = replace(run.limits, deadline_s=deadline * 2 * len(line) if deadline else None)
    with watched(limits, run.session, f"replay {number}"):
        record = replay(run.config, line, kind, seed, run.environment().spaces, run.resolve_device())
    store.put_replay(number, record)
    return record


@member_task(name="replay", task_run_name="replay {schedule.member} {kind} {number}")
def replay_schedule(run: RunRef, schedule: Schedule, kind: ReplayKind, number: int, seed: int) -> Replay:
    """Train a fresh agent along the schedule of a file, in the reference's environment; nothing is stored."""
    deadline = run.limits.deadline_s
    limits = replace(run.limits, deadline_s=deadline * 2 * len(schedule.stages) if deadline else None)
    with watched(limits, run.session, f"replay {number}"):
        spaces = run.environment().spaces
        return replay_genomes(run.config, schedule.member, schedule.genomes, kind, seed, spaces, run.resolve_device())
