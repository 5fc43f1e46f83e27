"""evolve watch --live: follow a run in the terminal, from its store alone."""

import time
from functools import partial

from flows.cli.output import make_console
from flows.next_steps import evolve_command, store_flag
from flows.observers.observer import Observer
from flows.observers.store_follower import StoreFollower
from flows.observers.terminal import describe_delivery, display
from flows.outcome import describe_status
from flows.runs import open_ref
from tasks.runs.presence import is_being_worked_on
from tasks.store import GoneError, StoreError

INTERVAL_S = 2.0
"""Time between two looks at the store."""

SILENCE_S = 20.0
"""Time without news after which is said that nobody works on the run, if nobody does."""

INTERRUPTED = 1


def follow_run(run_id: str, interval_s: float = INTERVAL_S, silence_s: float = SILENCE_S) -> int:
    """Show a run until it has ended, or until Ctrl-C; return the exit code."""
    ref = open_ref(run_id)
    console = make_console()
    try:
        with display(console, ref.config, unseen="in progress") as watcher:
            follower = StoreFollower(partial(open_ref, run_id), watcher)
            _follow(run_id, follower, watcher, interval_s, silence_s)
    except KeyboardInterrupt:  # the usual end of watching a run that goes on
        return INTERRUPTED
    assert follower.ending is not None
    status, delivered = describe_status(follower.ending), describe_delivery(follower.ending, ref.config)
    console.print(f"{status}; delivers {delivered}", highlight=False, soft_wrap=True)
    return 0


def _follow(run_id: str, follower: StoreFollower, watcher: Observer, interval_s: float, silence_s: float) -> None:
    """Look at the store until the run has ended; warn once while it does not answer, and while nobody works on it."""
    heard, told, unreachable = time.monotonic(), False, False
    while follower.ending is None:
        try:
            if follower.look():
                heard, told = time.monotonic(), False
            unreachable = False
        except GoneError:
            raise
        except StoreError as error:
            if not unreachable:
                watcher.warned(f"{error}; looking again every {interval_s:g} s")
            unreachable = True
        if follower.ending is not None:
            return
        if not told and not unreachable and time.monotonic() - heard >= silence_s:
            heard, told = time.monotonic(), not is_being_worked_on(open_ref(run_id).open())
            if told:
                command = evolve_command("resume", run_id, **store_flag())
                watcher.warned(f"no process that this machine knows of works on {run_id}; {command} continues it")
        time.sleep(interval_s)
