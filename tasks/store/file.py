"""The store on a local file system."""

import os
import tempfile
from pathlib import Path

from tasks.store.base import adopt
from tasks.store.errors import DeniedError, MissingError, UnavailableError


class FileStore:
    """Files below a directory. A file appears under its name whole and synced, by a hard link, or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()

    def create(self, key: str, content: bytes) -> None:
        """Create a key, whole or not at all; see Store."""
        path = self.root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._link(path, content)
        except FileExistsError:
            adopt(self, key, content)
        except PermissionError as error:
            raise DeniedError(f"{path}: {error.strerror}; give this user write permission or use --store") from error
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}; free space or repair the disk, then resume") from error

    def read(self, key: str) -> bytes:
        """Read a key; MissingError when it does not exist."""
        path = self.root / key
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(f"{path} does not exist; check run id and --store") from None
        except PermissionError as error:
            raise DeniedError(f"{path}: {error.strerror}; give this user read permission") from error
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}; repair the disk, then resume") from error

    def exists(self, key: str) -> bool:
        """Tell whether a key exists."""
        return (self.root / key).is_file()

    def children(self, prefix: str = "") -> list[str]:
        """List the names directly below a prefix, sorted."""
        directory = self.root / prefix
        return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []

    def _link(self, path: Path, content: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            os.fchmod(handle, 0o644)  # mkstemp hides it from everybody else
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike rename, fails when the name is taken
        finally:
            os.unlink(temporary)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
