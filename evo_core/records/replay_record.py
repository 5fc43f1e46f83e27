"""The record of a replay, which belongs to no COMMIT."""

from typing import Literal

from evo_core.genome.architecture import Record
from evo_core.records.chain import Failure

ReplayKind = Literal["schedule", "fixed"]


class Replay(Record):
    """Result of a fresh agent: `fitness` after each generation of the line, and `returns` of its last episodes.

    Where `evaluation.fitness` is not the return, `returns` are what those episodes were worth.

    `kind`: along the `schedule` of the winner's line, or with the winner's final genome throughout (`fixed`). The steps
    are those of the line, so that both can be compared with it. `uid` is the winner's.
    """

    uid: str
    kind: ReplayKind
    seed: int
    steps: tuple[int, ...]
    fitness: tuple[float, ...]
    returns: tuple[float, ...] = ()
    failure: Failure | None = None
