"""The store on S3 and its compatibles, through s3fs.

Endpoint and credentials come from where boto finds them: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, profiles, instance roles. They never pass through this program's configuration.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import s3fs

from tasks.store.base import adopt
from tasks.store.errors import DeniedError, MissingError, StoreError, UnavailableError

T = TypeVar("T")

ATTEMPTS = 2
PAUSE_S = 1.0
PRECONDITION_FAILED = 412


class S3Store:
    """Objects below a prefix of a bucket, created by conditional PUT (If-None-Match: *)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._root = self.url.removeprefix("s3://")
        self._fs = s3fs.S3FileSystem(
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3"),  # boto reads it too, but s3fs caches by argument
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": 5,
                "read_timeout": 20,
                "retries": {"mode": "standard", "max_attempts": 2},
            },
        )
        self._fs.retries = 1  # retries of s3fs and boto multiply: a hung server costs 80 s in all

    def create(self, key: str, content: bytes) -> None:
        """Create a key, whole or not at all; see Store."""
        path = f"{self._root}/{key}"
        try:
            self._call(path, lambda: self._fs.pipe_file(path, content, mode="create"))
        except FileExistsError:
            adopt(self, key, content)

    def read(self, key: str) -> bytes:
        """Read a key; MissingError when it does not exist."""
        path = f"{self._root}/{key}"
        content: bytes = self._call(path, lambda: self._fs.cat_file(path))
        return content

    def exists(self, key: str) -> bool:
        """Tell whether a key exists."""
        path = f"{self._root}/{key}"
        return bool(self._call(path, lambda: self._fs.exists(path)))

    def children(self, prefix: str = "") -> list[str]:
        """List the names directly below a prefix, sorted. May lag behind: never decide by it."""
        path = f"{self._root}/{prefix}".rstrip("/")
        try:
            listed: list[str] = self._call(path, lambda: self._fs.ls(path, detail=False, refresh=True))
        except MissingError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in listed)

    def _call(self, path: str, request: Callable[[], T]) -> T:
        """Make a request, again on faults of the moment; raise FileExistsError on a refused create, else StoreError."""
        for attempt in range(ATTEMPTS):
            try:
                return request()
            except Exception as error:
                translated = _translate(error, f"s3://{path}")
                if not isinstance(translated, UnavailableError) or attempt == ATTEMPTS - 1:
                    raise translated from error
                time.sleep(PAUSE_S)
        raise AssertionError("unreachable")


def _translate(error: Exception, path: str) -> FileExistsError | StoreError:
    """Name a fault by the HTTP status behind it: s3fs maps several statuses to the same OSError."""
    status = next(_statuses(error), None)
    if status == PRECONDITION_FAILED or (status is None and isinstance(error, FileExistsError)):
        return FileExistsError(path)
    if status == 404 or (status is None and isinstance(error, FileNotFoundError)):
        return MissingError(f"{path} does not exist; check run id, --store and that the bucket exists")
    if status in (401, 403) or type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return DeniedError(
            f"{path}: access denied ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and check the policy"
        )
    return UnavailableError(
        f"{path}: {type(error).__name__}: {error}; check AWS_ENDPOINT_URL_S3 and the service, then resume the run"
    )


def _statuses(error: BaseException | None) -> Iterator[int]:
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            yield int(response["ResponseMetadata"]["HTTPStatusCode"])
        error = error.__cause__
