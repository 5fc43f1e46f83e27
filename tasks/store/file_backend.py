"""Store backend for local file systems."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tasks.store.errors import CorruptError, DeniedError, ExistsError, MissingError, UnavailableError

_PERMANENT_ERRNOS = frozenset(
    {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EROFS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP}
)
"""Errors that retrying does not fix."""


class FileBackend:
    """Files below a directory. A file appears under its name complete and synced, by a hard link, or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()

    def prepare(self, place: str) -> None:
        """Create the directory of a place."""
        directory = self.root / place
        with _translated(directory):
            made = [parent for parent in (directory, *directory.parents) if not parent.exists()]
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            _sync({parent.parent for parent in made})

    def create(self, key: str, content: bytes) -> None:
        """Create a key atomically; ExistsError if it exists, MissingError if its place is missing."""
        path = self.root / key
        with _translated(path), self._written(path, content) as temporary:
            os.link(temporary, path)  # unlike rename, fails when the name is taken

    def read(self, key: str) -> bytes:
        """Read a key; MissingError if it does not exist."""
        path = self.root / key
        with _translated(path):
            if not stat.S_ISREG(path.stat().st_mode):
                raise CorruptError(f"{path}: expected a file, found a directory or device in its place; move it away")
            return path.read_bytes()

    def exists(self, key: str) -> bool:
        """Return True if a key exists."""
        path = self.root / key
        with _translated(path):
            return path.exists()

    def children(self, prefix: str) -> list[str]:
        """List the names directly below a prefix, sorted, without temporary files, whose names begin with a dot."""
        directory = self.root / prefix
        with _translated(directory):
            return sorted(p.name for p in directory.iterdir() if p.name[0] != ".") if directory.is_dir() else []

    def modified(self, key: str) -> datetime:
        """Return when a key was last written."""
        path = self.root / key
        with _translated(path):
            return _moment(path.stat())

    def now(self) -> datetime:
        """Return the time of the file system's clock, which on a network is not this machine's."""
        with _translated(self.root), tempfile.TemporaryFile(dir=self.root) as file:
            return _moment(os.fstat(file.fileno()))

    def overwrite(self, key: str, content: bytes) -> None:
        """Write a key atomically, replacing any content."""
        path = self.root / key
        with _translated(path), self._written(path, content) as temporary:
            os.replace(temporary, path)

    def delete(self, key: str) -> None:
        """Delete a key."""
        path = self.root / key
        with _translated(path):
            path.unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix, including leftovers of interrupted writes."""
        directory = self.root / prefix
        with _translated(directory):
            found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
            return sorted(path.relative_to(self.root).as_posix() for path in found)

    def prune(self, prefix: str) -> None:
        """Remove the empty directories of a prefix, itself included."""
        root = self.root / prefix
        directories = [path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()]
        with suppress(OSError):  # not empty: another process writes there
            for directory in (*sorted(directories, reverse=True), root):
                directory.rmdir()

    @contextmanager
    def _written(self, path: Path, content: bytes) -> Iterator[str]:
        """Write a synced temporary file next to a path; sync the directory after the body has linked or renamed it."""
        made = self._make_parents(path)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            os.fchmod(handle, 0o644)  # mkstemp makes it unreadable for other users
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        _sync({path.parent, *(directory.parent for directory in made)})

    def _make_parents(self, path: Path) -> list[Path]:
        """Create the directories between a key and its place, never the place itself; return the missing ones."""
        made: list[Path] = []
        for directory in reversed(path.relative_to(self.root).parents[:-2]):
            with suppress(FileExistsError):
                (self.root / directory).mkdir()
                made.append(self.root / directory)
        return made


def _sync(directories: Iterable[Path]) -> None:
    """Sync directories to disk, because names must survive a power failure too."""
    for directory in directories:
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _moment(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Translate an OSError of the body into a StoreError."""
    try:
        yield
    except FileExistsError:
        raise ExistsError(str(path)) from None
    except IsADirectoryError:
        raise CorruptError(f"{path}: expected a file, found a directory in its place; move it away") from None
    except FileNotFoundError:
        raise MissingError(f"{path} does not exist; check run id and --store") from None
    except OSError as error:
        if error.errno in _PERMANENT_ERRNOS:
            raise DeniedError(
                f"{path}: {error.strerror}; give this user permission to write directories and files there, on a file "
                "system that knows hard links, or use another --store"
            ) from error
        raise UnavailableError(f"{path}: {error.strerror}; free space or repair the disk, then resume") from error
