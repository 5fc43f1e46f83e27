"""Stores by URL scheme. To add a backend, add a module and one line here."""

from collections.abc import Callable
from urllib.parse import urlsplit

from tasks.store.addresses import directory_of, parse_store, shown
from tasks.store.errors import (
    ConflictError,
    CorruptError,
    DeniedError,
    GoneError,
    MissingError,
    StoreError,
    UnavailableError,
    UnsafeError,
)
from tasks.store.store import PATIENCE_S, Backend, Store

__all__ = [
    "PATIENCE_S",
    "Backend",
    "ConflictError",
    "CorruptError",
    "DeniedError",
    "GoneError",
    "MissingError",
    "Store",
    "StoreError",
    "UnavailableError",
    "UnsafeError",
    "open_store",
]


def _open_s3(url: str) -> Backend:
    from tasks.store.s3_backend import S3Backend  # takes seconds to import, which a local run does not need

    return S3Backend(parse_store(url))


def _open_file(url: str) -> Backend:
    from tasks.store.file_backend import FileBackend

    return FileBackend(directory_of(url))


def _open_memory(url: str) -> Backend:
    from tasks.store.memory_backend import MemoryBackend

    return MemoryBackend(url)


SCHEMES: dict[str, Callable[[str], Backend]] = {"file": _open_file, "s3": _open_s3, "memory": _open_memory}


def open_store(url: str, patience_s: float = PATIENCE_S) -> Store:
    """Open the store at a URL, such as file:///data/runs or s3://bucket/runs; ValueError for another scheme."""
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(
            f"store {shown(url)}: expected a URL that begins with {' or '.join(f'{s}://' for s in SCHEMES)}"
        )
    return Store(SCHEMES[scheme](url), patience_s)
