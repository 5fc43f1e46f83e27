"""evolve deploy: register everything with a Prefect server."""

import sys
from typing import Annotated

from evo_core.config.bounds import MOST_WORKERS
from flows.cli.arguments import Json, Store, number
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.prefect_server.api import describe_api, find_api, require_api
from flows.settings import BadInput
from flows.views.database_faults import tolerated


def deploy(
    *,
    store: Store = None,
    limit: Annotated[
        int | None, number("Flow runs that the pool may run at a time [as it is].", 1, MOST_WORKERS)
    ] = None,
    gpu_slots: Annotated[
        int | None, number("Members that may learn on GPUs at a time, over all runs [as it is].", 1, MOST_WORKERS)
    ] = None,
    json: Json = False,
) -> int:
    """Register deployments, work pool, limits and automations with the Prefect server at PREFECT_API_URL.

    Run it once, and after every update: existing objects are updated.
    """
    api = find_api()
    if api is None:
        raise BadInput(
            "PREFECT_API_URL is not set: name the server to register the deployments with, such as "
            "http://127.0.0.1:4200/api; without one, `evolve serve` starts everything"
        )
    settings = read_settings({"store": store})
    from deployments.registration import register
    from flows.runs import run_ids
    from flows.slots import GPU_TAG, limit_gpu_slots

    runs: list[str] = []
    with tolerated(lambda reason: print(f"the forms do not list the store's runs: {reason}", file=sys.stderr)):
        runs = run_ids(settings)
    require_api(api)
    names = register(runs, limit)
    if gpu_slots is not None:
        limit_gpu_slots(gpu_slots, settings.slots_tag or GPU_TAG)
    if json:
        emit({"api": api.url, "deployments": names, "work_pool": "evolve"})
        return 0
    print(f"registered with {describe_api(api)}: {', '.join(names)}")
    print("next, unless `evolve serve` runs there: EVOLVE_STORE=… prefect worker start --pool evolve --type process")
    return 0
