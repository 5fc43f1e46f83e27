"""Create a run, and find an existing one."""

import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime

from evo_core.config.parsing import ConfigError, config_differences, did_you_mean
from evo_core.config.run_config import RunConfig
from flows.next_steps import evolve_command, store_flag
from flows.settings import BadInput, Settings
from tasks.runs import layout
from tasks.runs.deletion import is_half_deleted
from tasks.runs.ref import RunRef, new_session
from tasks.runs.run_records import Extension, RunFile, extended
from tasks.runs.run_store import RunStore
from tasks.store import PATIENCE_S, MissingError, open_store

_begun: dict[str, RunRef] = {}
"""The run of this process, cached for its subflows."""

_found: set[tuple[str, str]] = set()
"""Stores and runs found by this process: if one is missing later, it is gone and must not be created again."""

_missing: set[tuple[str, str]] = set()
"""Stores and runs that this process did not find, after several attempts."""

QUICK_S = 35.0
"""Time limit of store requests before a run starts, so that a wrong address fails quickly."""


def fresh_run_id(config: RunConfig) -> str:
    """Generate a run id from environment, date and four random letters, such as lunarlander-v3-20261122-abcd."""
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(4))
    return f"{_slug(config)}-{datetime.now(UTC):%Y%m%d}-{letters}"


def derived_run_id(config: RunConfig, flow_run_id: str) -> str:
    """Derive a run id from environment and flow run, such as lunarlander-v3-3e1aa626, so that a Retry finds it.

    From the end of the flow run's id: it begins with the time, and flow runs of one minute begin alike.
    """
    return f"{_slug(config)}-{flow_run_id[-8:]}"


def _slug(config: RunConfig) -> str:
    return re.sub(r"[^a-z0-9]+", "-", config.env.id.lower()).strip("-")[:40]


def check_run(settings: Settings, config: RunConfig, run_id: str, patience_s: float = QUICK_S) -> bool:
    """Return True if a run exists; ConfigError lists the differences when it has another configuration.

    Both its initial and its extended budget are accepted, and any env.max_instances. GoneError
    for a run that this process has found before.
    """
    run, place = open_run_store(settings, run_id, patience_s), (settings.store_url, run_id)
    try:
        original = run.sealed(layout.RUN, RunFile, expected=place not in _missing).record.config
    except MissingError:
        if is_half_deleted(run):
            raise unknown_run(settings, run_id) from None
        if place in _found:
            run.require_in_place()
        _missing.add(place)
        return False
    _found.add(place)
    _missing.discard(place)  # from now on a missing one is doubted
    current, most = run.config(), config.env.max_instances
    if config not in (original.with_instances(most), current.with_instances(most)):
        raise ConfigError(
            [
                f"run {run_id} exists in {settings.store_url} with another configuration; use another --run-id, or "
                f"`{evolve_command('resume', run_id, **store_flag())}` to continue with its own:",
                *config_differences(current, config),
                *_how_to_extend(run_id, current, config),
            ]
        )
    return True


def begin_run(settings: Settings, config: RunConfig, run_id: str) -> RunRef:
    """Write run.json, unless the run exists with this configuration; see check_run.

    UnsafeError for a store on which two writers could both win.
    """
    store = open_run_store(settings, run_id, PATIENCE_S).store
    if check_run(settings, config, run_id, PATIENCE_S):
        store.probe()
        ref = open_ref(run_id, PATIENCE_S)
        ref = replace(ref, config=ref.config.with_instances(config.env.max_instances))
    else:
        store.prepare("")
        store.probe()
        ref = open_run(settings, config, run_id)
        ref.open().create_run(config)
        _found.add((settings.store_url, run_id))
    _begun.clear()
    _begun[run_id] = _with_limits(ref)
    return _begun[run_id]


def begun_ref(run_id: str) -> RunRef:
    """Return the reference to a run: cached if this process started it, else read from the store."""
    if run_id not in _begun:
        return _with_limits(open_ref(run_id, PATIENCE_S))
    return replace(_begun[run_id], session=new_session())


def open_ref(run_id: str, patience_s: float = QUICK_S, settings: Settings | None = None) -> RunRef:
    """Return a run of the configured store, or of `settings`; BadInput with suggestions if it does not exist."""
    settings = settings or Settings()
    run = open_run_store(settings, run_id, patience_s)
    try:
        ref = open_run(settings, run.config(), run_id)
        _found.add((settings.store_url, run_id))
        return ref
    except MissingError:
        if (settings.store_url, run_id) in _found and not is_half_deleted(run):
            run.require_in_place()
        raise unknown_run(settings, run_id) from None


def unknown_run(settings: Settings, run_id: str) -> BadInput:
    """Return the error of a run that is not in the store: suggestions, or that its deletion was interrupted."""
    if is_half_deleted(open_run_store(settings, run_id)):
        command = evolve_command("delete", run_id, **store_flag())
        return BadInput(f"run {run_id} was being deleted, which was interrupted; finish it: {command}")
    runs = run_ids(settings)
    hint = did_you_mean(run_id, runs) if runs else "the store has no runs"
    return BadInput(f"run {run_id} is not in {settings.store_url}; {hint}")


def open_run(settings: Settings, config: RunConfig, run_id: str) -> RunRef:
    """Return a reference to a run under these settings, without the limits of tasks (see `begun_ref`)."""
    return RunRef(
        settings.store_url,
        run_id,
        config,
        settings.device,
        env_packages=settings.packages,
        env_directories=settings.env_directories,
    )


def unstored_ref(config: RunConfig, name: str) -> RunRef:
    """Return a reference for tasks that store nothing, under the configured settings; `name` is only shown."""
    return _with_limits(open_run(Settings(), config, name))


def _with_limits(ref: RunRef) -> RunRef:
    """Limit the tasks of a run by the settings and this machine."""
    return replace(ref, limits=Settings().limits(ref.config.population.most))


def run_ids(settings: Settings) -> list[str]:
    """Return the runs of the store, including those whose deletion was interrupted."""
    store = open_store(settings.store_url, QUICK_S)
    signs = (layout.RUN, layout.DELETION)
    return [name for name in store.children() if any(store.exists(f"{name}/{sign}") for sign in signs)]


def _how_to_extend(run_id: str, current: RunConfig, config: RunConfig) -> list[str]:
    """Return the command to use if only a higher budget differs."""
    wanted = Extension(max_steps=config.training.max_steps, target=config.training.target)
    if extended(current, wanted) != config or wanted.max_steps < current.training.max_steps:
        return []
    target = f"{wanted.target:g}" if wanted.target not in (None, current.training.target) else None
    command = evolve_command("resume", run_id, extend=wanted.max_steps, target=target, **store_flag())
    return [f"a higher budget is all that differs: `{command}`, or the deployment resume with that budget"]


def open_run_store(settings: Settings, run_id: str, patience_s: float = QUICK_S) -> RunStore:
    """Return the store of a run, whether it exists or not; BadInput for an invalid run id."""
    try:
        return RunStore(open_store(settings.store_url, patience_s), run_id)
    except ValueError as error:
        raise BadInput(str(error)) from None
