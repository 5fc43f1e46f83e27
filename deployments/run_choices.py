"""Lists of existing runs, shown by the forms that ask for one."""

from collections.abc import Iterable
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.exceptions import ObjectNotFound

from evo_core.records.chain import Generation
from flows.observers.observer import Observer, observer
from flows.views.database_faults import tolerated

ASKING = ("evolve-resume/resume", "evolve-evaluate/evaluate", "evolve-gc/gc")
"""Deployments that ask for an existing run."""

TRIES = 5

MOST = 500
"""Maximum number of listed runs; other names can be typed."""


class Offering(Observer):
    """Observer that adds a run to the forms' lists as soon as it exists."""

    def began(self, run_id: str, head: Generation) -> None:
        """Called when a run starts, or continues from a COMMIT."""
        with tolerated(_not_listed), get_client(sync_client=True) as client:
            offer(client, [run_id], first=True)


def _not_listed(reason: str) -> None:
    observer().warned(f"the run is not listed in the forms, where its name can be typed: {reason}")


def offer(client: SyncPrefectClient, run_ids: Iterable[str], *, first: bool) -> None:
    """Add runs to the lists of all deployments that ask for one, as the first or as the last.

    Deployments that are not registered are left out.
    """
    new = list(run_ids)
    for name in ASKING:
        for _ in range(TRIES):  # another run may update the list concurrently
            try:
                deployment = client.read_deployment_by_name(name)
            except ObjectNotFound:
                break
            schema = with_choices(deployment.parameter_openapi_schema or {}, new, first=first)
            if schema == deployment.parameter_openapi_schema:
                break
            client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))


def with_choices(schema: dict[str, Any], new: list[str], *, first: bool) -> dict[str, Any]:
    """Add runs before or after those that a form lists; return the form itself if nothing changes."""
    known = offered(schema)
    fresh = [name for name in new if name not in known]
    names = ([*fresh, *known] if first else [*known, *fresh])[:MOST]
    if names == known:
        return schema
    field = schema["properties"]["run_id"]
    listed = {
        "title": "from the list",
        "type": "string",
        "enum": names,
    }
    choices = {**field, "anyOf": [listed, field["anyOf"][-1]]}
    return {**schema, "properties": {**schema["properties"], "run_id": choices}}


def offered(schema: dict[str, Any]) -> list[str]:
    """Return the names of the runs that a form lists."""
    choices = schema.get("properties", {}).get("run_id", {}).get("anyOf", [])
    return choices[0].get("enum", []) if choices else []
