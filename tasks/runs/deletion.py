"""Deletion of a run. A key that is written first and deleted last marks an interrupted one.

Order: that key, run.json (from here on the run cannot be resumed), the COMMITs from the last to the first, everything
else, and that key.
"""

from concurrent.futures import ThreadPoolExecutor

from tasks.runs import layout
from tasks.runs.record_store import CONNECTIONS
from tasks.runs.run_store import RunStore

CONTENT = b'{"deleting": true}\n'


def is_half_deleted(run: RunStore) -> bool:
    """Return True if the deletion of a run was started but not finished."""
    return run.exists(layout.DELETION) and not run.exists(layout.RUN)


def begin_deletion(run: RunStore) -> None:
    """Mark a run as being deleted. DeniedError if the store's credentials do not permit deletion."""
    run.store.delete(run.key(layout.DELETION))  # without permission, this fails with nothing changed
    run.store.create(run.key(layout.DELETION), CONTENT)


def delete_run(run: RunStore) -> int:
    """Delete every key of a run whose deletion has started; return how many."""
    keys = run.store.keys(run.run_id)
    first, last = run.key(layout.RUN), run.key(layout.DELETION)
    commits = sorted((key for key in keys if key.endswith("/COMMIT.json")), reverse=True)
    for key in (first, *commits):
        run.store.delete(key)
    others = set(keys) - {first, *commits, last}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(run.store.delete, others))
    run.store.delete(last)
    run.store.prune(run.run_id)
    return len(keys) - 1
