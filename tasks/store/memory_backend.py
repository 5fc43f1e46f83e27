"""Store backend in memory, for notebooks and tests; lost when the process ends."""

import threading
from datetime import UTC, datetime

from tasks.store.errors import ExistsError, MissingError

Objects = dict[str, tuple[bytes, datetime]]

_stores: dict[str, Objects] = {}


class MemoryBackend:
    """A dictionary per URL. One lock makes creation atomic."""

    _lock = threading.Lock()

    def __init__(self, url: str) -> None:
        self.url = url
        self._objects = _stores.setdefault(url, {})

    def prepare(self, place: str) -> None:
        """Do nothing: places need no preparation."""

    def create(self, key: str, content: bytes) -> None:
        """Create a key; ExistsError if it exists."""
        with self._lock:
            if key in self._objects:
                raise ExistsError(key)
            self._objects[key] = (bytes(content), self.now())

    def read(self, key: str) -> bytes:
        """Read a key; MissingError if it does not exist."""
        return self._object(key)[0]

    def exists(self, key: str) -> bool:
        """Return True if a key exists."""
        return key in self._objects

    def children(self, prefix: str) -> list[str]:
        """List the names directly below a prefix, sorted."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        return sorted({key[len(start) :].split("/")[0] for key in list(self._objects) if key.startswith(start)})

    def modified(self, key: str) -> datetime:
        """Return when a key was last written."""
        return self._object(key)[1]

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC)

    def overwrite(self, key: str, content: bytes) -> None:
        """Write a key, replacing any content."""
        self._objects[key] = (bytes(content), self.now())

    def delete(self, key: str) -> None:
        """Delete a key."""
        self._objects.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix."""
        return sorted(key for key in list(self._objects) if key.startswith(f"{prefix}/"))

    def prune(self, prefix: str) -> None:
        """Do nothing: there are no directories."""

    def _object(self, key: str) -> tuple[bytes, datetime]:
        try:
            return self._objects[key]
        except KeyError:
            raise MissingError(f"{self.url}/{key} does not exist; check run id and --store") from None
