"""Parsing of store and study addresses; ambiguous ones are rejected before anything is opened.

The message of a rejection says what to write instead, and never repeats a password.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.logs.redaction import HIDDEN, concealed

JOURNAL = "journal"
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql", JOURNAL)

_USER = re.compile(r"(?<=/)[^/\s]*:\S*@|(?<=/)[^/\s]*@|^[^/\s]*:(?!/)\S+@")
_VARIABLE = re.compile(r"\$\{?\w")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class AddressError(ValueError):
    """An invalid or ambiguous address; the message says what to write instead."""


def shown(address: str) -> str:
    """Return the repr of an address for messages, with user and password hidden."""
    return repr(concealed(_USER.sub(f"{HIDDEN}@", address)))


def parse_store(text: str) -> str:
    """Return a store's URL, file:///… or s3://bucket/prefix; a plain path is a directory, and is made absolute."""
    _require_text(text, "a directory, file:///path or s3://bucket/prefix")
    if "://" not in text:
        path = _path(text, f"s3://bucket/prefix or file:///path, got {shown(text)}")
        return _whole(path).as_uri()
    scheme, rest = text.split("://", 1)
    match scheme.lower():
        case "file":
            return directory_of(f"file://{rest}").as_uri()
        case "s3":
            return _bucket(rest, text)
    raise AddressError(f"expected a directory, or a URL that begins with file:// or s3://, got {shown(text)}")


def directory_of(url: str) -> Path:
    """Return the directory that a file:// URL names."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc.lower() not in ("", "localhost"):
        whole = _USER.sub(f"{HIDDEN}@", url.removeprefix("file://"))
        meant = whole if whole[0] in ".~" else f"file:///{whole}, or {whole} for a directory below this one"
        raise AddressError(f"expected file:///path with three slashes, got {shown(url)}; write {meant}")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise AddressError(f"expected a path without ? and #, got {shown(url)}; write %3F and %23, or the plain path")
    if not path.startswith("/") or path.startswith("/~"):
        raise AddressError(
            f"expected an absolute path, got {shown(url)}; write file:///path, or the plain path, such as ~/runs"
        )
    _require_text(path, "a path")
    return Path(f"/{path.lstrip('/')}")


def _bucket(rest: str, text: str) -> str:
    """Validate what follows s3://; keys are taken literally, so nothing in them is decoded or collapsed."""
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or re.search(r":\S*@", rest):
        raise AddressError(
            f"expected s3://bucket/prefix without credentials, got {shown(text)}; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if ":" in bucket:
        raise AddressError(
            f"expected s3://bucket/prefix without host and port, got {shown(text)}; set AWS_ENDPOINT_URL_S3"
        )
    if not _BUCKET.fullmatch(bucket):
        raise AddressError(f"expected the name of a bucket after s3://, got {shown(text)}; write s3://bucket/prefix")
    prefix = prefix.rstrip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise AddressError(f"expected a prefix without //, . and .., got {shown(text)}; S3 would take them literally")
    if re.search(r"[?#%]", prefix):
        raise AddressError(f"expected a prefix without ?, # and %, got {shown(text)}; S3 would take them literally")
    return f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"


def parse_study(text: str) -> str:
    """Return the URL of a study's database; a plain path is a SQLite file, and every path is made absolute."""
    _require_text(text, "a database file, or a URL such as postgresql://user@host/name or journal:////path")
    if "://" not in text:
        return f"sqlite:///{_file(_path(text, f'sqlite:////path, got {shown(text)}'), text)}"
    scheme, rest = text.split("://", 1)
    dialect = scheme.lower().partition("+")[0]
    if dialect == "postgres":
        raise AddressError(f"expected postgresql://…, got {shown(text)}")
    if dialect not in DATABASES:
        raise AddressError(f"expected a database URL that begins with one of {', '.join(DATABASES)}, got {shown(text)}")
    if dialect in ("sqlite", JOURNAL):
        return _database_file(scheme.lower(), rest, text)
    return _server(f"{scheme.lower()}://{rest}", text)


def is_relative(text: str) -> bool:
    """Return True if an address depends on the working directory."""
    if "://" not in text:
        return not text.startswith(("/", "~"))
    scheme, rest = text.split("://", 1)
    dialect = scheme.lower().partition("+")[0]
    if dialect == JOURNAL:
        return rest.startswith("/.")
    return dialect == "sqlite" and not rest.startswith(("//", "/~"))


def _database_file(scheme: str, rest: str, text: str) -> str:
    """Parse scheme:///path. Three slashes mean a relative path in SQLAlchemy, but an absolute one in other URLs."""
    if rest.startswith("/file:"):  # SQLite's own URI
        return f"{scheme}://{rest}"
    path = rest.partition("?")[0]
    if path in ("", "/", "/:memory:"):
        raise AddressError(f"expected a file, got {shown(text)}: a database in memory is lost; write {scheme}:////path")
    if not path.startswith("/"):
        raise AddressError(f"expected {scheme}:////path (absolute) or {scheme}:///path (relative), got {shown(text)}")
    name = path[1:]
    if not name.startswith(("/", ".", "~")):
        first, whole = name.split("/")[0], scheme == JOURNAL
        here, there = Path(first).exists(), Path("/", first).is_dir()
        same = Path(first).absolute() == Path("/", first)
        if not same and (here if whole else there and not here):
            raise AddressError(
                f"{shown(text)} could mean /{name} or ./{name}; write {scheme}:////{name} or {scheme}:///./{name}"
            )
        name = f"/{name}" if whole else name
    query = rest[len(path) :]
    return f"{scheme}:///{_file(_path(name, shown(text)), text)}{query}"


def _file(name: str, text: str) -> Path:
    path = _whole(name)
    if path.is_dir():
        raise AddressError(f"expected a database file, got {shown(text)}, which is a directory; add a file name")
    return path


def _whole(path: str) -> Path:
    """Return an absolute path, without the second leading slash that POSIX allows."""
    return Path(f"/{str(Path(path).absolute()).lstrip('/')}")


def _server(url: str, text: str) -> str:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError):
        raise AddressError(f"expected a database URL such as postgresql://user@host/name, got {shown(text)}") from None
    return url


def _path(text: str, url: str) -> str:
    """Return a plain path with `~` expanded; reject what looks like another kind of address."""
    if ":" in text.split("/")[0]:
        raise AddressError(f"expected a path, or {url}; a path with a colon begins with ./")
    if "?" in text:
        raise AddressError(f"expected a path without ?, got {shown(text)}: in the URL of its database it ends the path")
    if _VARIABLE.search(text):
        raise AddressError(f"expected a path, got {shown(text)}, in which a variable was not replaced; write it out")
    try:
        path = Path(text).expanduser() if text.startswith("~") else text
    except RuntimeError:
        path = text
    if str(path).startswith("~"):
        raise AddressError(f"expected a path, got {shown(text)}: there is no such user; a name with ~ begins with ./")
    return str(path)


def _require_text(text: str, expected: str) -> None:
    if not text.strip() or text != text.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise AddressError(
            f"expected {expected}, without spaces at its ends and without control characters, got {shown(text)}"
        )
