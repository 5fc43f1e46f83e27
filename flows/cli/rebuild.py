"""evolve lineage rebuild: write the Optuna study again from the store."""

from flows.cli.arguments import Json, Run, Store, Study
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.runs import open_ref
from flows.settings import BadInput
from flows.views.database_faults import describe_fault
from tasks.logs.redaction import without_password
from tasks.store import StoreError


def rebuild(run_id: Run, /, *, store: Store = None, study: Study = None, json: Json = False) -> int:
    """Rebuild a run's Optuna study from the store."""
    settings = read_settings({"store": store, "study": study})
    settings.export()
    ref = open_ref(run_id)
    url = without_password(settings.study_url)
    from tasks.views.study import rebuild_study  # imports optuna

    try:
        trials = rebuild_study(ref.open(), ref.config, settings.study_url)
    except StoreError:
        raise
    except Exception as error:  # database drivers raise any exception
        raise BadInput(f"study {url}: {describe_fault(error)}") from error
    if json:
        emit({"run_id": run_id, "study": url, "trials": trials})
    else:
        print(f"{run_id}: {trials} trials in {url}")
    return 0
