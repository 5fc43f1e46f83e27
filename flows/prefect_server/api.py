"""The configured Prefect API: its address, the setting that names it, and whether it answers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.prefect_server.outages import prepare_client

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

VARIABLE = "PREFECT_API_URL"
EXAMPLE = "http://127.0.0.1:4200/api"
TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class ConfiguredApi:
    """Address of an API, and the setting (with its file) that it comes from."""

    url: str
    source: str

    @property
    def subject(self) -> str:
        """The setting and its value, as a message begins with them; a password in the address is hidden."""
        from tasks.logs.redaction import concealed

        return f"{self.source} is {concealed(self.url)}"


def configured_api() -> str | None:
    """Return the address of the configured Prefect API; see find_api."""
    api = find_api()
    return api.url if api else None


def find_api() -> ConfiguredApi | None:
    """Return the configured Prefect API, or None; raise BadInput for settings that cannot be read.

    Prefect, which takes a second to import, is used only if one of its settings files exists.
    """
    if VARIABLE in os.environ:
        url = os.environ[VARIABLE]
        return ConfiguredApi(url, VARIABLE) if url else None
    if not any(_settings_files()):
        return None
    prepare_client()
    with _readable():
        from prefect.settings import Settings

        url = Settings().api.url or ""
        return ConfiguredApi(url, _source("url", VARIABLE)) if url else None


def describe_api(api: ConfiguredApi | None) -> str:
    """Return which Prefect server a run uses, and why."""
    if api is None:
        return f"a server of its own for this run; {VARIABLE} is not set, nor in any file of Prefect's settings"
    from tasks.logs.redaction import concealed

    return f"{concealed(api.url)} ({api.source})"


def require_configured_api() -> ConfiguredApi | None:
    """Return the configured Prefect API, or None; raise BadInput if it does not answer as one."""
    api = find_api()
    if api is not None:
        require_api(api)
    return api


def require_api(api: ConfiguredApi) -> None:
    """Send a request that needs the password; raise BadInput with the wrong setting and what to do."""
    prepare_client()
    import httpx
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.exceptions import PrefectException
    from prefect.settings import get_current_settings

    from flows.settings import BadInput

    ours = get_current_settings().api
    auth = ours.auth_string.get_secret_value() if ours.auth_string else None
    key = ours.key.get_secret_value() if ours.key else None
    try:
        with SyncPrefectClient(api.url, auth_string=auth, api_key=key, httpx_settings={"timeout": TIMEOUT_S}) as client:
            client.read_flows(limit=1)
    except httpx.HTTPStatusError as error:
        raise BadInput(f"{api.subject}: {_advice(error.response.status_code, auth, key)}") from error
    except (httpx.TransportError, httpx.InvalidURL, RuntimeError) as error:
        reason = str(error) or type(error).__name__
        away = f"unset {VARIABLE}" if api.source == VARIABLE else "remove that setting"
        raise BadInput(
            f"{api.subject}: no Prefect server answers there ({reason}); start the server, or {away} to run embedded; "
            f"expected an address such as {EXAMPLE}"
        ) from error
    except (PrefectException, ValueError, TypeError) as error:  # the response is not JSON, or another schema
        raise BadInput(
            f"{api.subject}: the response is not that of a Prefect server ({type(error).__name__}); expected an "
            "address "
            f"such as {EXAMPLE}"
        ) from error


def login_file() -> Path:
    """Return where the auth string is kept that `evolve serve` made: in Prefect's home."""
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect") / "evolve-auth"


def _advice(status: int, auth: str | None, key: str | None) -> str:
    """Return what to change after an answer that is an error."""
    if status not in (401, 403):
        wrong = f"it answered {status}"
        return f"{wrong}; expected an address that ends in /api, such as {EXAMPLE}" if status in (404, 405) else wrong
    kept = f" (evolve serve keeps its own in {file})" if (file := login_file()).exists() else ""
    if auth is None and key is None:
        return f"it asks for an auth string: set PREFECT_API_AUTH_STRING=user:password{kept}"
    field = "auth_string" if auth is not None else "key"
    name = f"PREFECT_API_{field.upper()}"
    return (
        f"it refuses {_source(field, name)} (status {status}); set {name} to the value that this server was given{kept}"
    )


def _settings_files() -> Iterator[bool]:
    """Yield whether each place that may name an API is there; see prefect.settings.sources."""
    yield any(name.upper() == VARIABLE for name in os.environ)  # Prefect ignores the case of names
    yield any(Path(name).exists() for name in (".env", "prefect.toml"))
    pyproject = Path("pyproject.toml")
    yield pyproject.exists() and b"prefect" in pyproject.read_bytes()
    yield bool(os.environ.get("PREFECT_PROFILES_PATH"))
    yield (Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect") / "profiles.toml").exists()


@contextmanager
def _readable() -> Iterator[None]:
    from pydantic_settings.exceptions import SettingsError

    from flows.settings import BadInput

    try:
        yield
    except (SettingsError, ValueError, OSError) as error:
        raise BadInput(
            f"Prefect's settings cannot be read: {error}; correct them, or name the server by {VARIABLE} in the "
            "environment"
        ) from error


def _source(field: str, variable: str) -> str:
    """Return the setting that determines a field of Prefect's section `api`, with its file."""
    from prefect.settings.models.api import APISettings
    from pydantic_settings import InitSettingsSource

    none = InitSettingsSource(APISettings, {})
    for source in APISettings.settings_customise_sources(APISettings, none, none, none, none):
        if source().get(field):
            return _named(source, field, variable)
    return variable


def _named(source: "PydanticBaseSettingsSource", field: str, variable: str) -> str:
    from prefect.settings import sources

    match source:
        case sources.ProfileSettingsTomlLoader():
            return f"{variable} of the active profile in {source.profiles_path}"
        case sources.PrefectTomlConfigSettingsSource():
            return f"api.{field} in {Path('prefect.toml').absolute()}"
        case sources.PyprojectTomlConfigSettingsSource():
            return f"tool.prefect.api.{field} in {source.toml_file_path.absolute()}"
        case sources.FilteredDotEnvSettingsSource():
            return f"{variable} in {Path('.env').absolute()}"
        case _:
            return variable
