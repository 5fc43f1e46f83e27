"""The auth string of `evolve serve`: from the environment, or generated at the first start and kept in a file."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from flows.prefect_server.api import login_file
from flows.prefect_server.embedded import SERVER_AUTH, make_auth_string
from flows.settings import BadInput


@dataclass(frozen=True, slots=True)
class Login:
    """Auth string of a server (None: no authentication), and the file that contains it."""

    auth: str | None
    file: Path | None = None
    fresh: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The setting of the server."""
        return {} if self.auth is None else {SERVER_AUTH: self.auth}

    def describe(self) -> str:
        """Return the login of the page; a newly generated auth string is shown only this once."""
        if self.auth is None:
            return "none: every account of this machine can start runs here, and with them any code, in your name"
        if self.file is None:
            return f"the value of {SERVER_AUTH}"
        return f"{self.auth}   (kept in {self.file})" if self.fresh else f"the content of {self.file}"


def check_login(*, no_auth: bool) -> None:
    """Reject contradictory settings and an unsafe auth string file; BadInput says what to do."""
    if no_auth and SERVER_AUTH in os.environ:
        raise BadInput(f"--no-auth: {SERVER_AUTH} is set, and asks for an auth string; unset it, or drop --no-auth")
    if not no_auth and SERVER_AUTH not in os.environ and login_file().exists():
        _read(login_file())


def find_login(*, no_auth: bool) -> Login:
    """Return the auth string of a server; at the first start, generate one and store it in a private file."""
    if no_auth:
        return Login(None)
    if auth := os.environ.get(SERVER_AUTH):
        return Login(auth)
    file = login_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    made = make_auth_string()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return Login(_read(file), file)
    with os.fdopen(descriptor, "w") as output:
        output.write(f"{made}\n")
    return Login(made, file, fresh=True)


def _read(file: Path) -> str:
    """Read a stored auth string; BadInput if other users can read or write the file."""
    advice = f"delete it, and the next start makes a new one; or set {SERVER_AUTH}=user:password"
    with file.open() as source:
        status = os.fstat(source.fileno())
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            found = f"mode {stat.S_IMODE(status.st_mode):o}, owner {status.st_uid}"
            raise BadInput(f"{file}: expected an auth string that only this user can read (600), got {found}; {advice}")
        auth = source.read().strip()
    user, colon, password = auth.partition(":")
    if not (user and colon and password and auth.isascii() and auth.isprintable()):
        raise BadInput(f"{file}: expected user:password in one line; {advice}")
    return auth
