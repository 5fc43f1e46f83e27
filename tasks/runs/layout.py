"""Keys of a run, relative to its run id. Every key is created once."""

from collections.abc import Callable

from evo_core.records.chain import EliteRef

RUN = "run.json"

DELETION = "deleting.json"
"""Marks a run that is being deleted; see tasks/runs/deletion.py."""


def blob(sha256: str) -> str:
    """Return the key of a checkpoint: weights and optimizer of one member, by their hash."""
    return f"blobs/{sha256}.safetensors"


def commit(generation: int) -> str:
    """Return the key of a COMMIT, the record that makes a generation exist."""
    return f"gen/{generation:06d}/COMMIT.json"


def confirmation(generation: int) -> str:
    """Return the key of a confirmation: the score of a generation's elite on fresh seeds."""
    return f"gen/{generation:06d}/confirm.json"


def confirmation_of(elite: EliteRef) -> str:
    """Return the key of an elite's confirmation.

    With further objectives several members of a generation may be confirmed, so each has a key of its own.
    """
    if elite.objectives:
        return f"{_member(elite.generation, int(elite.uid.rpartition('/m')[2]))}.confirm.json"
    return confirmation(elite.generation)


def training(generation: int, index: int) -> str:
    """Return the key of a member's record after training."""
    return f"{_member(generation, index)}.train.json"


def member(generation: int, index: int) -> str:
    """Return the key of a complete member, after evaluation."""
    return f"{_member(generation, index)}.json"


def members(generation: int) -> str:
    """Return the prefix of the records of a generation's members."""
    return f"gen/{generation:06d}/m"


def timings(generation: int) -> str:
    """Return the key of when and where the members of a generation ran."""
    return f"gen/{generation:06d}/timings.json"


def failed_attempts(generation: int) -> Callable[[int], str]:
    """Return the keys, by number, of the attempts at a generation in which too few members finished."""
    return lambda number: f"gen/{generation:06d}/failed/{number:06d}.json"


def extension(number: int) -> str:
    """Return the key of a raised budget."""
    return f"extend/{number:06d}.json"


def release(number: int) -> str:
    """Return the key of a list of released checkpoints."""
    return f"gc/{number:06d}.json"


def replay(uid: str, kind: str, number: int) -> str:
    """Return the key of a replay: a fresh agent along a member's schedule, or with its last genome alone."""
    return f"{replays(uid, kind)}/{number:06d}.json"


def replays(uid: str, kind: str) -> str:
    """Return the prefix of the replays of a kind."""
    return f"replay/{uid.replace('/', '-')}/{kind}"


def _member(generation: int, index: int) -> str:
    return f"{members(generation)}/{index:04d}"
