"""Data of a report, read from the store of a finished or running run."""

import gc
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from evo_core.config.run_config import RunConfig
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Confirmation, FailureDetail
from evo_core.records.replay_record import Replay, ReplayKind
from flows.outcome import delivery
from tasks.runs.failed_members import details
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Timing
from tasks.runs.run_store import RunStore

PHASES = ("train", "evaluate")


@dataclass(frozen=True)
class RunView:
    """A run: its family tree, and the delivered member (see `Delivery` while it runs). Timings and replays are many
    more objects of the store, and are read at first use.
    """

    run_id: str
    config: RunConfig
    lineage: Lineage
    winner: str
    status: str
    confirmed: Confirmation | None
    store: RunStore

    @cached_property
    def replays(self) -> Mapping[ReplayKind, Sequence[Replay]]:
        """Replays of the winner, by kind."""
        return {kind: list(self.store.replays(self.winner, kind).values()) for kind in get_args(ReplayKind)}

    @cached_property
    def timings(self) -> Mapping[tuple[str, str], Timing]:
        """Timings of every phase of every member, as far as known, by uid and phase."""
        generations = sorted({member.offspring.generation for member in self.lineage.members.values()})
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            found = list(pool.map(self.store.timings, generations))
        return {
            (uid, phase): clock
            for timings in found
            for phase in PHASES
            for uid, clock in getattr(timings, phase).items()
        }

    def failure_details(self, uids: Collection[str]) -> Mapping[str, FailureDetail]:
        """Return the failure details of these members by uid, as far as known."""
        failed = [member for uid in uids if (member := self.lineage[uid]).failure is not None]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            found = list(pool.map(lambda member: details(self.store, [member]), failed))
        return {uid: detail for said in found for uid, detail in said.items()}


def view_run(ref: RunRef) -> RunView:
    """Read a run; BadInput before its first generation is finished."""
    store, delivered = ref.open(), delivery(ref)
    collects = gc.isenabled()
    gc.disable()  # there are no cycles among records, and looking for some takes longer than reading them
    try:
        lineage = Lineage(store.commits(), ref.config.evaluation.objective.sign)
    finally:
        if collects:
            gc.enable()
    return RunView(
        run_id=ref.run_id,
        config=ref.config,
        lineage=lineage,
        winner=delivered.elite.uid,
        status=delivered.status,
        confirmed=delivered.confirmed,
        store=store,
    )


def view_run_once(ref: RunRef) -> RunView:
    """Read a run for a command that ends afterward: its records are never searched for garbage, nor freed."""
    view = view_run(ref)
    gc.freeze()
    return view
