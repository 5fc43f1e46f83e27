"""Beginning a run, and finding one that exists."""

import re
import secrets
from datetime import UTC, datetime

from evo_core.config import RunConfig
from evo_core.loading import ConfigError, did_you_mean, differences
from flows.settings import BadInput, Settings
from tasks.ref import RunRef
from tasks.run_store import RunStore
from tasks.store import MissingError, open_store


def fresh_run_id(config: RunConfig) -> str:
    """Make up a run id from environment, date and four random letters, such as lunarlander-v3-20261122-abcd."""
    name = re.sub(r"[^a-z0-9]+", "-", config.env.id.lower()).strip("-")[:40]
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(4))
    return f"{name}-{datetime.now(UTC):%Y%m%d}-{letters}"


def check_run(settings: Settings, config: RunConfig, run_id: str) -> bool:
    """Tell whether a run exists; ConfigError lists the differences when it has another configuration."""
    try:
        existing = _open(settings, run_id).config()
    except MissingError:
        return False
    if existing != config:
        raise ConfigError(
            [
                f"run {run_id} exists in {settings.store_url} with another configuration; use another --run-id, or "
                f"`evolve resume {run_id}` to go on with its own:",
                *differences(existing, config),
            ]
        )
    return True


def begin_run(settings: Settings, config: RunConfig, run_id: str) -> RunRef:
    """Write run.json, unless the run exists with this configuration; see check_run."""
    ref = RunRef(settings.store_url, run_id, config, settings.device)
    if not check_run(settings, config, run_id):
        ref.open().create_run(config)
    return ref


def open_ref(run_id: str) -> RunRef:
    """Find a run in the store that the environment names; BadInput suggests others when it is not there."""
    settings = Settings()
    run = _open(settings, run_id)
    try:
        return RunRef(settings.store_url, run_id, run.config(), settings.device)
    except MissingError:
        runs = run_ids(settings)
        hint = did_you_mean(run_id, runs) if runs else "the store has no runs"
        raise BadInput(f"run {run_id} is not in {settings.store_url}; {hint}") from None


def run_ids(settings: Settings) -> list[str]:
    """List the runs of the store."""
    store = open_store(settings.store_url)
    return [name for name in store.children() if store.exists(f"{name}/run.json")]


def _open(settings: Settings, run_id: str) -> RunStore:
    try:
        return RunStore(open_store(settings.store_url), run_id)
    except ValueError as error:
        raise BadInput(str(error)) from None
