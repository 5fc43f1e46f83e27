"""Store backend for S3 and compatible services, through s3fs.

Endpoint and credentials come from boto's usual sources: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, profiles, instance roles. They are never part of this program's configuration.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import s3fs
from fsspec.asyn import sync

from tasks.store.errors import DeniedError, ExistsError, MissingError, StoreError, UnavailableError
from tasks.store.store import ATTEMPT_S

PRECONDITION_FAILED = 412


class S3Backend:
    """Objects below a prefix of a bucket, created by conditional PUT (If-None-Match: *)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")  # boto reads it too, but s3fs caches by argument
        near = _is_loopback(endpoint or os.environ.get("AWS_ENDPOINT_URL"))
        direct: dict[str, object] = {"proxies": {}} if near else {}  # HTTP_PROXY etc. are for other machines
        self._fs = s3fs.S3FileSystem(
            endpoint_url=endpoint,
            use_listings_cache=False,
            config_kwargs={"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 1}, **direct},
        )
        self._fs.retries = 1  # retries of boto, s3fs and the Store would multiply: only the Store retries

    def prepare(self, place: str) -> None:
        """Do nothing: buckets are created by their administrators."""

    def create(self, key: str, content: bytes) -> None:
        """Create a key atomically; ExistsError if it exists."""
        self._call(key, self._fs._pipe_file, self._path(key), content, mode="create")

    def read(self, key: str) -> bytes:
        """Read a key in one request; MissingError if it does not exist."""
        # with more connections, s3fs requests the size first, and a listing if there is none
        content: bytes = self._call(key, self._fs._cat_file, self._path(key), max_concurrency=1)
        return content

    def exists(self, key: str) -> bool:
        """Return True if a key exists, in one request."""
        try:
            self._head(key)
        except MissingError:
            return False
        return True

    def children(self, prefix: str) -> list[str]:
        """List the names directly below a prefix, sorted. May be stale."""
        path = self._path(prefix).rstrip("/")
        try:
            listed: list[str] = self._call(prefix, self._fs._ls, path, detail=False, refresh=True)
        except MissingError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in listed)

    def modified(self, key: str) -> datetime:
        """Return when a key was last written."""
        moment: datetime = self._head(key)["LastModified"]
        return moment

    def now(self) -> datetime:
        """Return the time of the service's clock, from a response header."""
        reply = self._call("", self._fs._call_s3, "head_bucket", Bucket=self._bucket)
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])

    def overwrite(self, key: str, content: bytes) -> None:
        """Write a key atomically, replacing any content."""
        self._call(key, self._fs._pipe_file, self._path(key), content)

    def delete(self, key: str) -> None:
        """Delete a key."""
        self._call(key, self._fs._call_s3, "delete_object", Bucket=self._bucket, Key=f"{self._prefix}{key}")

    def keys(self, prefix: str) -> list[str]:
        """List all keys below a prefix. May be stale."""
        found: list[str] = self._call(prefix, self._fs._find, self._path(prefix))
        keys = (path.removeprefix(self._path("")) for path in found)
        return sorted(key for key in keys if key.startswith(f"{prefix}/"))  # s3fs returns an empty prefix itself

    def prune(self, prefix: str) -> None:
        """Do nothing: there are no directories."""

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._prefix}{key}"

    def _head(self, key: str) -> dict[str, Any]:
        reply: dict[str, Any] = self._call(
            key, self._fs._call_s3, "head_object", Bucket=self._bucket, Key=f"{self._prefix}{key}"
        )
        return reply

    def _call(self, key: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
        """Make one request from this thread, with a timeout for its total duration."""
        try:
            return sync(self._fs.loop, function, *arguments, timeout=ATTEMPT_S, **keywords)
        except Exception as error:
            raise _translate(error, f"s3://{self._path(key)}") from error


def _is_loopback(endpoint: str | None) -> bool:
    host = urlsplit(endpoint or "").hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _translate(error: Exception, path: str) -> StoreError:
    """Translate an exception by its HTTP status, because s3fs maps several statuses to the same OSError."""
    status = next(_statuses(error), None)
    if status == PRECONDITION_FAILED or (status is None and isinstance(error, FileExistsError)):
        return ExistsError(path)
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
