"""Changes of an existing run: extended budget, new target, fork. Everything is checked before anything is written."""

import math
from contextlib import suppress

from evo_core.records.chain import Generation
from flows.next_steps import evolve_command, store_flag
from flows.outcome import stored_ending
from flows.prefect_server.api import require_configured_api
from flows.runs import open_ref, open_run, open_run_store
from flows.settings import BadInput, Settings
from tasks.runs import layout
from tasks.runs.fork import fork
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Extension, extended
from tasks.store import MissingError


def extend_run(
    settings: Settings, run_id: str, max_steps: int | None, target: float | None, *, dry_run: bool = False
) -> None:
    """Raise a run's budget or change its target; BadInput when the run could not continue with them. None leaves a
    value unchanged. With `dry_run` nothing is written.
    """
    source = open_ref(run_id)
    extension = _extension(settings, source, max_steps, target)
    if extension is None or dry_run:
        return
    source.environment()
    require_configured_api()
    run = open_run_store(settings, run_id)
    run.store.probe()
    run.extend(extension)


def fork_run(
    settings: Settings,
    run_id: str,
    generation: int,
    new_id: str,
    max_steps: int | None = None,
    target: float | None = None,
) -> None:
    """Copy a run up to a generation under a new id; BadInput when that id is taken. The new budget and target are
    validated before copying.
    """
    source = open_ref(run_id)
    open_run_store(settings, new_id)
    copy, store = open_run(settings, source.config, new_id).open(), source.open()
    last = store.last(layout.commit)
    if last is None:
        raise BadInput(f"--from-generation: run {run_id} has no generation yet; resume it instead")
    if not 0 <= generation <= last:
        raise BadInput(f"--from-generation: expected 0 to {last}, the generations of {run_id}, got {generation}")
    with suppress(MissingError):
        origin = copy.run_file().forked_from
        if origin is None or (origin.run_id, origin.generation) != (run_id, generation):
            raise BadInput(f"--run-id {new_id}: this run exists already; choose another id for the fork")
        return
    begun = copy.last(layout.commit)
    if begun is not None and (begun > generation or copy.commit(0) != store.commit(0)):
        raise BadInput(f"--run-id {new_id}: something else was begun under this id; choose another one for the fork")
    _extension(settings, source, max_steps, target, store.commit(generation))
    spaces = source.environment().spaces
    require_configured_api()
    copy.store.probe()
    from tasks.runs.recomputation import Recomputer  # imports torch, which a refusal does without

    fork(store, copy, generation, Recomputer(store, source.config, spaces, source.resolve_device()))


def _extension(
    settings: Settings, run: RunRef, max_steps: int | None, target: float | None, head: Generation | None = None
) -> Extension | None:
    """Return the extension of a run's budget or target, or None without changes. BadInput when a run with this `head`,
    by default its last COMMIT, could not continue.
    """
    if target is not None and not math.isfinite(target):
        raise BadInput(f"--target: expected a finite number, got {target}; leave it out to keep the run's own")
    training = run.config.training
    extension = Extension(
        max_steps=max_steps if max_steps is not None else training.max_steps,
        target=target if target is not None else training.target,
    )
    if extension == Extension(max_steps=training.max_steps, target=training.target):
        return None
    if extension.max_steps < training.max_steps:
        raise BadInput(
            f"--extend: expected the new TOTAL of training steps, more than {training.max_steps:,}, got "
            f"{extension.max_steps:,}; `{evolve_command('status', run.run_id, **store_flag())}` shows what is spent"
        )
    if extension.max_steps != training.max_steps and run.config.algorithm.lr_schedule == "linear":
        raise BadInput(
            f"--extend: the learning rate of {run.run_id} decays to zero over its budget of {training.max_steps:,} "
            "steps (algorithm.lr_schedule: linear), so there is nothing to continue; start a new run with a larger "
            "training.max_steps"
        )
    longer = open_run(settings, extended(run.config, extension), run.run_id)
    if stored_ending(longer, head or longer.open().head()) is not None:
        raise BadInput(
            f"run {run.run_id} would still be finished: its target {extension.target} is reached, or its budget of "
            f"{extension.max_steps:,} is less than one more generation; raise --extend, and --target as well if it "
            "has one"
        )
    return extension
