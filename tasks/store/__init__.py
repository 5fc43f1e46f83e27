"""Stores by URL scheme. A new kind is one file, and one line here."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.store.base import Store
from tasks.store.errors import ConflictError, CorruptError, DeniedError, MissingError, StoreError, UnavailableError

__all__ = [
    "ConflictError",
    "CorruptError",
    "DeniedError",
    "MissingError",
    "Store",
    "StoreError",
    "UnavailableError",
    "open_store",
]


def _open_s3(url: str) -> Store:
    from tasks.store.s3 import S3Store  # seconds of imports that a local run does not need

    return S3Store(url)


def _open_file(url: str) -> Store:
    from tasks.store.file import FileStore

    return FileStore(Path(unquote(urlsplit(url).path)))


SCHEMES: dict[str, Callable[[str], Store]] = {"file": _open_file, "s3": _open_s3}


def open_store(url: str) -> Store:
    """Open the store at a URL, such as file:///data/runs or s3://bucket/runs; ValueError for another scheme."""
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"store {url!r}: expected a URL that begins with {' or '.join(f'{s}://' for s in SCHEMES)}")
    return SCHEMES[scheme](url)
