"""Register deployments, work pool, limits and automations with a Prefect server; safe to repeat."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import emit_event
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from deployments.guardian import OURS, RUNNING, find_flow_runs
from deployments.run_choices import offer, offered, with_choices

FILE = Path(__file__).with_name("prefect.yaml")
HEARTBEAT = "prefect.flow-run.heartbeat"
OUR_FLOWS = {"prefect.resource.role": "flow", "prefect.resource.name": [*OURS]}
"""Filter for events of our flows."""

SILENCE_S = 480
"""Time without a heartbeat after which a flow run counts as crashed; longer than tolerated outages of the server."""

START_S = 480
"""Time limit from the submission of a flow run to its first state: imports, on a busy machine."""


def register(runs: Iterable[str], limit: int | None = None) -> list[str]:
    """Register deployments, work pool and automation, and list runs in the forms; return the deployments' names.

    `limit` is how many flow runs the pool may run at a time; None leaves it as it is. Existing objects are updated,
    except schedules and pool settings that users changed.
    """
    specs = yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]
    with get_client(sync_client=True) as client:
        _make_pool(client, specs[0]["work_pool"]["name"], limit)
        names = [_deploy(client, spec) for spec in specs]
        offer(client, runs, first=False)
        _watch_for_crashes()
        _listen_for(client)
    return names


def _make_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):  # users may have changed it
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    if limit is not None:
        client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def _deploy(client: SyncPrefectClient, spec: dict[str, Any]) -> str:
    """Register a deployment as `prefect deploy` would, except that the schedules of one that exists stay."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(spec["entrypoint"])
    name, limit = f"{flow.name}/{spec['name']}", spec.get("concurrency_limit", {})
    settings = {
        "description": spec["description"],
        "entrypoint": spec["entrypoint"],
        "pull_steps": [],
        "parameter_openapi_schema": {
            **parameter_schema(flow).model_dump(exclude_unset=True),
            "additionalProperties": False,  # the server rejects unknown parameters
        },
        "enforce_parameter_schema": True,
        "tags": spec["tags"],
        "work_pool_name": spec["work_pool"]["name"],
        "work_queue_name": spec["work_pool"].get("work_queue_name", "default"),
        "job_variables": spec["work_pool"]["job_variables"],
        "concurrency_limit": limit.get("limit"),
        "concurrency_options": {"collision_strategy": limit["collision_strategy"]} if limit else None,
    }
    try:
        existing = client.read_deployment_by_name(name)
        known = offered(existing.parameter_openapi_schema or {})
        settings["parameter_openapi_schema"] = with_choices(settings["parameter_openapi_schema"], known, first=True)
        client.update_deployment(existing.id, DeploymentUpdate(**settings))
    except ObjectNotFound:
        schedules = [_schedule(**schedule) for schedule in spec.get("schedules", [])]
        flow_id = client.create_flow_from_name(flow.name)
        client.create_deployment(flow_id, spec["name"], schedules=schedules, **settings)
    return name


def _schedule(cron: str, timezone: str, active: bool) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=timezone), active=active)


def _listen_for(client: SyncPrefectClient) -> None:
    """Emit an event for every flow run in state Running, so that the automation watches it: one that died during an
    outage sent none."""
    for run in find_flow_runs(client, RUNNING):
        flow = {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow"}
        emit_event(
            HEARTBEAT,
            resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"},
            related=[{**flow, "prefect.resource.name": client.read_flow(run.flow_id).name}],
        )


def _watch_for_crashes() -> None:
    """Create automations that mark flow runs as crashed when they stop sending heartbeats, or never send one."""
    ends = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed", "Suspended")}
    said = "No sign of life for {} s: its machine or its network died. Retry continues it."
    _automate(
        "evolve: silent runs have crashed",
        f"A flow run without a heartbeat for {SILENCE_S} s. Retry continues it.",
        EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *ends},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=OUR_FLOWS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        said.format(SILENCE_S),
    )
    _automate(
        "evolve: runs that never began have crashed",
        f"A flow run that a worker took, and that did not begin within {START_S} s.",
        EventTrigger(
            after={"prefect.flow-run.Pending", "prefect.flow-run.Submitting"},
            expect={"prefect.flow-run.Running", *ends},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.evolve"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=START_S),
        ),
        said.format(START_S),
    )


def _automate(name: str, description: str, trigger: EventTrigger, message: str) -> None:
    """Create an automation that marks runs as crashed, or update it; a disabled one stays disabled."""
    crash = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    automation = Automation(name=name, description=description, trigger=trigger, actions=[crash])
    try:
        existing = Automation.read(name=name)
    except (ObjectNotFound, ValueError):
        automation.create()
        return
    assert isinstance(existing, Automation)  # a coroutine only where an event loop runs
    automation.id, automation.enabled = existing.id, existing.enabled
    automation.update()
