"""Keys of a run, relative to its run id. Every key is created once."""

from collections.abc import Callable

RUN = "run.json"

DELETION = "deleting.json"
"""Says that a run is being deleted; see tasks/runs/deletion.py."""


def blob(sha256: str) -> str:
    """Weights and optimizer of one member, under their hash."""
    return f"blobs/{sha256}.safetensors"


def commit(generation: int) -> str:
    """The record that makes a generation exist."""
    return f"gen/{generation:06d}/COMMIT.json"


def confirmation(generation: int) -> str:
    """The score of a generation's elite on fresh seeds."""
    return f"gen/{generation:06d}/confirm.json"


def training(generation: int, index: int) -> str:
    """A member after training."""
    return f"{_member(generation, index)}.train.json"


def member(generation: int, index: int) -> str:
    """A whole member, after evaluation."""
    return f"{_member(generation, index)}.json"


def timings(generation: int) -> str:
    """When and where the members of a generation ran."""
    return f"gen/{generation:06d}/timings.json"


def failed_attempts(generation: int) -> Callable[[int], str]:
    """Attempts at a generation in which too few members finished, by their number."""
    return lambda number: f"gen/{generation:06d}/failed/{number:06d}.json"


def extension(number: int) -> str:
    """A raised budget."""
    return f"extend/{number:06d}.json"


def release(number: int) -> str:
    """A list of checkpoints that were released."""
    return f"gc/{number:06d}.json"


def replay(uid: str, kind: str, number: int) -> str:
    """How a fresh agent did along a member's schedule, or with its last genome alone."""
    return f"{replays(uid, kind)}/{number:06d}.json"


def replays(uid: str, kind: str) -> str:
    """Where the replays of a kind lie."""
    return f"replay/{uid.replace('/', '-')}/{kind}"


def _member(generation: int, index: int) -> str:
    return f"gen/{generation:06d}/m/{index:04d}"
