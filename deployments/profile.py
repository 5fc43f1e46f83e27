"""The hardened server profile: requests need the auth string and must come from the server's own pages."""

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from flows.prefect_server.embedded import CLIENT_AUTH, HOSTS, ORIGINS, SERVER_AUTH
from flows.settings import BadInput

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SHORTEST_PASSWORD = 8
UNWRITTEN = {"http": 80, "https": 443}
"""Default ports, which browsers omit from URLs."""


def server_environment(origins: tuple[str, ...]) -> dict[str, str]:
    """List the settings of a hardened server whose UI is opened at these origins (scheme, host and port).

    Pages of other origins get no CORS header, and requests that modify state need a CSRF token. The auth string is not
    among them; see deployments/login.py.
    """
    return {
        ORIGINS: ",".join(origins),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # leases must survive a restart of the server
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_LOGGING_LOGGERS_UVICORN_LEVEL": "INFO",  # see flows/prefect_server/embedded.py
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }


@dataclass(frozen=True, slots=True)
class Exposure:
    """Addresses of a server: the origins under which browsers open its UI (the first one is shown), and the hosts under
    which programs call it."""

    origins: tuple[str, ...]
    hosts: tuple[str, ...]

    @property
    def api(self) -> str:
        """The API as browsers call it."""
        return f"{self.origins[0]}/api"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the server."""
        return {
            **server_environment(self.origins),
            "PREFECT_UI_API_URL": self.api,
            HOSTS: ",".join(self.hosts),
        }


def choose_exposure(host: str, port: int, origin: str | None) -> Exposure:
    """Return the addresses of a server, and check that they are safe.

    BadInput says what to set when other machines can reach it and the environment names no auth string.
    """
    named = f"[{host}]" if ":" in host else host
    ends = ("", f":{port}") if port == UNWRITTEN["http"] else (f":{port}",)  # unlike browsers, programs may send :80
    names = tuple(dict.fromkeys((*(() if is_wildcard(host) else (named,)), *LOOPBACK)))
    own = tuple(f"{name}{end}" for end in ends for name in names)
    if origin is None:
        if is_wildcard(host):
            raise BadInput(
                f"--host {host}: listens on every address; say what browsers call it: --origin http://NAME{ends[0]}"
            )
        shown = names if is_loopback(host) else names[:1]
        origins = tuple(f"http://{name}{ends[0]}" for name in shown)
    else:
        origin = _checked(origin)
        origins, own = (origin,), (urlsplit(origin).netloc, *own)
    _check_auth(host, origin)
    return Exposure(tuple(map(str.lower, origins)), tuple(map(str.lower, own)))  # as browsers write them


def _checked(origin: str) -> str:
    """Validate an origin and normalize it as browsers do."""
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        raise BadInput(f"--origin {origin}: expected only scheme, host and port, such as https://evolve.example.org")
    return origin.removesuffix(f":{UNWRITTEN[parts.scheme]}")


def _check_auth(host: str, origin: str | None) -> None:
    auth = os.environ.get(SERVER_AUTH)
    if auth is None:
        flag, seen = ("--host", host) if not is_loopback(host) else ("--origin", urlsplit(origin or "").hostname or "")
        if not is_loopback(host) or (origin is not None and not is_loopback(seen)):
            raise BadInput(
                f"{flag} {seen}: others can reach this address, and clients of a Prefect server can run code; set "
                f"{SERVER_AUTH}=user:password in the environment first, or stay on 127.0.0.1"
            )
        return
    user, colon, password = auth.partition(":")
    if not (user and colon and len(password) >= SHORTEST_PASSWORD and auth.isascii() and auth.isprintable()):
        raise BadInput(
            f"{SERVER_AUTH}: expected user:password in plain ASCII, with at least {SHORTEST_PASSWORD} characters after "
            "the :"
        )
    if os.environ.get(CLIENT_AUTH, auth) != auth:
        raise BadInput(
            f"{CLIENT_AUTH} is not {SERVER_AUTH}: this service is its own client; unset it, or set it to that"
        )


def is_loopback(host: str) -> bool:
    """Return True if an address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Return True if an address is a wildcard for all addresses of this machine."""
    return host in ("0.0.0.0", "::")
