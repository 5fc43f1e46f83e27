"""Cache of what this worker process has just written or read, to save requests to the store.

Nothing here decides what exists: checkpoints are keyed by the hash of their bytes, and after a miss the caller asks the
store. Tasks refer to this module, not to its objects, because task functions are pickled by value with everything that
they refer to.
"""

from collections import OrderedDict

BUDGET = 2**25
"""Bytes of checkpoints that a process keeps; the newest one is kept regardless of its size."""


class RecentCheckpoints:
    """LRU cache of checkpoints by their sha256."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget, self._size = budget, 0
        self._contents: OrderedDict[str, bytes] = OrderedDict()

    def get(self, sha256: str) -> bytes | None:
        """Return a checkpoint and make it the newest; None if it is not cached."""
        if sha256 in self._contents:
            self._contents.move_to_end(sha256)
        return self._contents.get(sha256)

    def put(self, sha256: str, content: bytes) -> None:
        """Add a checkpoint under its hash; evict the oldest ones while the budget is exceeded."""
        if self.get(sha256) is None:
            self._contents[sha256] = content
            self._size += len(content)
        while self._size > self._budget and len(self._contents) > 1:
            self._size -= len(self._contents.popitem(last=False)[1])


checkpoints = RecentCheckpoints()
"""The cache of this process."""

_trained: set[tuple[str, str]] = set()


def mark_trained(session: str, uid: str) -> None:
    """Note that this process has written a member's training record in this session (attempt at a generation)."""
    _trained.difference_update([key for key in _trained if key[0] != session])
    _trained.add((session, uid))


def needs_lookup(session: str, uid: str) -> bool:
    """Return True if a member may be evaluated already; False, once, if this process has just trained it."""
    if (session, uid) not in _trained:
        return True
    _trained.remove((session, uid))
    return False
