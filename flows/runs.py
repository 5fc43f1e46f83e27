"""Beginning a run, and finding one that exists."""

import re
import secrets
from datetime import UTC, datetime

from evo_core.config import RunConfig
from evo_core.loading import ConfigError, did_you_mean, differences
from flows.settings import Settings
from tasks.members import RunRef
from tasks.run_store import RunStore
from tasks.store import MissingError, open_store


class UnknownRun(ValueError):
    """There is no run of that id in the store."""


def fresh_run_id(config: RunConfig) -> str:
    """Make up a run id from environment, date and four random letters, such as lunarlander-v3-20261122-abcd."""
    name = re.sub(r"[^a-z0-9]+", "-", config.env.id.lower()).strip("-")[:40]
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(4))
    return f"{name}-{datetime.now(UTC):%Y%m%d}-{letters}"


def begin_run(settings: Settings, config: RunConfig, run_id: str) -> RunRef:
    """Write run.json, or check that the run which exists has this configuration.

    Raises ConfigError with the difference, field by field, when it has another one.
    """
    ref = RunRef(settings.store_url, run_id, config, settings.device)
    store = ref.open()
    try:
        existing = store.config()
    except MissingError:
        store.create_run(config)
        return ref
    if existing != config:
        raise ConfigError(
            [
                f"run {run_id} exists in {settings.store_url} with another configuration; use another --run-id, or "
                f"`evolve resume {run_id}` to go on with its own:",
                *differences(existing, config),
            ]
        )
    return ref


def open_ref(run_id: str) -> RunRef:
    """Find a run in the store that the environment names; UnknownRun suggests others when it is not there."""
    settings = Settings()
    store = open_store(settings.store_url)
    try:
        config = RunStore(store, run_id).config()
    except MissingError:
        runs = [name for name in store.children() if not name.startswith(("study.db", "."))]
        hint = did_you_mean(run_id, runs) if runs else "the store has no runs"
        raise UnknownRun(f"run {run_id} is not in {settings.store_url}; {hint}") from None
    return RunRef(settings.store_url, run_id, config, settings.device)
