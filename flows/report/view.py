"""Everything that a report shows of a run, read from its store; the run may still be running."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

from evo_core.config import RunConfig
from evo_core.lineage.tree import Lineage
from evo_core.records import Confirmation, Member
from evo_core.replay import Replay, ReplayKind
from flows.summary import delivery
from tasks.records import Timing
from tasks.ref import RunRef
from tasks.run_store import CONNECTIONS, RunStore
from tasks.store import CorruptError

PHASES = ("train", "evaluate")
Timings = dict[tuple[str, str], Timing]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run: its family tree, whom it delivers (so far the last elite, while it runs), and its clocks.

    `timings` by member and phase, where they are known.
    """

    run_id: str
    config: RunConfig
    lineage: Lineage
    winner: str
    status: str
    confirmed: Confirmation | None
    replays: Mapping[ReplayKind, Sequence[Replay]]
    timings: Timings


def view_run(ref: RunRef) -> RunView:
    """Read a run; BadInput before its first generation is finished."""
    store, delivered = ref.open(), delivery(ref)
    lineage, winner = Lineage(store.commits()), delivered.elite.uid
    return RunView(
        run_id=ref.run_id,
        config=ref.config,
        lineage=lineage,
        winner=winner,
        status=delivered.status,
        confirmed=delivered.confirmed,
        replays={kind: list(store.replays(winner, kind).values()) for kind in get_args(ReplayKind)},
        timings=_timings(store, lineage.members.values()),
    )


def _timings(store: RunStore, members: Iterable[Member]) -> Timings:
    wanted = [(member, phase) for member in members for phase in PHASES]

    def read(key: tuple[Member, str]) -> Timing | None:
        offspring = key[0].offspring
        try:
            return store.timing(offspring.generation, offspring.index, key[1])
        except CorruptError:  # a damaged clock is an unknown one; `evolve verify` names it
            return None

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = zip(wanted, pool.map(read, wanted), strict=True)
        return {(member.uid, phase): timing for (member, phase), timing in found if timing is not None}
