"""The store: keys that are created once and never change."""

from typing import Protocol

from evo_core.canonical import sha256
from tasks.store.errors import ConflictError


class Store(Protocol):
    """Bytes by key, on whatever keeps them. Keys are relative paths with forward slashes."""

    url: str

    def create(self, key: str, content: bytes) -> None:
        """Create a key, whole or not at all.

        A key that exists with the same content is adopted; ConflictError when its content differs.
        """
        ...

    def read(self, key: str) -> bytes:
        """Read a key; MissingError when it does not exist."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether a key exists."""
        ...

    def children(self, prefix: str = "") -> list[str]:
        """List the names directly below a prefix, sorted. May lag behind on S3: never decide by it."""
        ...


def adopt(store: Store, key: str, content: bytes) -> None:
    """Accept that a key exists if its content is the given one; this also heals a create whose reply was lost."""
    existing = store.read(key)
    if existing != content:
        raise ConflictError(key, sha256(existing), sha256(content))
