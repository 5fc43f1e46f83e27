"""evolve delete: delete a run with all its records and checkpoints, and its study."""

import sys
from typing import Annotated

from cyclopts import Parameter

from flows.cli.arguments import Json, Run, Store, Study
from flows.cli.ending import BEHIND, FAILED, FINE
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.next_steps import evolve_command, store_flag
from flows.outcome import stored_ending
from flows.runs import open_run, open_run_store, unknown_run
from flows.settings import BadInput, Settings
from flows.views.database_faults import tolerated
from tasks.logs.redaction import without_password
from tasks.runs import layout
from tasks.runs.deletion import begin_deletion, delete_run, is_half_deleted
from tasks.runs.presence import is_being_worked_on
from tasks.runs.run_store import RunStore
from tasks.store import CorruptError


def delete(
    run_id: Run,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", help="Delete without asking.")] = False,
    store: Store = None,
    study: Study = None,
    json: Json = False,
) -> int:
    """Delete a run permanently: its records, checkpoints and study. A running run is not deleted."""
    settings = read_settings({"store": store, "study": study})
    settings.export()
    run = open_run_store(settings, run_id)
    _require_idle(run, settings)
    if not (yes or _agreed(run, settings)):
        print("nothing was deleted", file=sys.stderr)
        return FAILED
    from tasks.views.study import delete_study  # imports optuna

    begin_deletion(run)
    behind: list[str] = []
    gone = False
    with tolerated(behind.append):
        gone = delete_study(run, settings.study_url)
    count = delete_run(run)
    where = without_password(settings.study_url)
    if json:
        study_url, warning = where if gone else None, behind[0] if behind else None
        emit({"run_id": run_id, "keys": count, "study": study_url, "warning": warning})
    else:
        and_study = f", and its study in {where}" if gone else ""
        print(f"{run_id}: deleted, {count:,} keys of {settings.store_url}{and_study}")
    if behind:
        print(f"warning: its study in {where} could not be deleted: {behind[0]}", file=sys.stderr)
    return BEHIND if behind else FINE


def _require_idle(run: RunStore, settings: Settings) -> None:
    """Raise BadInput unless the run exists and is not running."""
    if is_half_deleted(run):
        return
    if not run.exists(layout.RUN):
        raise unknown_run(settings, run.run_id)
    working = False
    try:
        working = is_being_worked_on(run) and not _at_rest(run, settings)
    except CorruptError as error:  # damaged: it cannot be resumed
        print(f"warning: {error}", file=sys.stderr)
    if working:
        raise BadInput(
            f"run {run.run_id} is running; end it first (Ctrl-C, or Cancel on its page). On S3, where processes are "
            "not visible, a run that is not finished is taken to be running for a quarter of an hour after its "
            "last record"
        )


def _at_rest(run: RunStore, settings: Settings) -> bool:
    """Return True if a run on S3 is finished, regardless of the age of its last record; other stores have locks."""
    local = settings.store_url.startswith("file:")
    return not local and stored_ending(open_run(settings, run.config(), run.run_id), run.head()) is not None


def _agreed(run: RunStore, settings: Settings) -> bool:
    """Ask for confirmation on the terminal; raise BadInput if there is no terminal."""
    if not sys.stdin.isatty():
        command = evolve_command("delete", run.run_id, "--yes", **store_flag())
        raise BadInput(f"--yes: required without a terminal: {command}")
    last = None if is_half_deleted(run) else run.last(layout.commit)
    what = f"{last or 0} generations" if last is not None else "the rest of it"
    question = f"delete {run.run_id} ({what}) in {settings.store_url}, and its study? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
