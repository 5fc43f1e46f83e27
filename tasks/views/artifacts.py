"""Prefect artifacts: pages that the UI shows with a flow run, versioned by key."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

Kind = Literal["progress", "leaderboard", "summary", "evaluation"]
Rows = Sequence[Mapping[str, str]]


def artifact_key(kind: Kind, run_id: str) -> str:
    """Name a run's artifact: `leaderboard-RUN`, another name for every run.

    Keys know no underscores. A run id that has some begins with a second dash, which no run id does; in it dashes are
    doubled and underscores written `-u`: `a_b-c` is `leaderboard--a-ub--c`.
    """
    if "_" in run_id:
        run_id = "-" + run_id.replace("-", "--").replace("_", "-u")
    return f"{kind}-{run_id}"


def newest(key: str) -> Artifact | None:
    """Read the newest version of an artifact, None when there is none."""
    found = _client().read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
    )
    return found[0] if found else None


def add_table(key: str, rows: Rows, description: str, metadata: Mapping[str, str]) -> None:
    """Add a version of a table; columns are named by the rows' keys, `description` is Markdown."""
    _add(key, "table", json.dumps(rows, ensure_ascii=False), description, metadata)


def add_markdown(key: str, text: str, description: str, metadata: Mapping[str, str]) -> None:
    """Add a version of a page of Markdown."""
    _add(key, "markdown", text, description, metadata)


def add_progress(key: str, percent: float, description: str, metadata: Mapping[str, str]) -> UUID:
    """Add a bar, from 0 to 100; return what `move_progress` needs to move it."""
    return _add(key, "progress", percent, description, metadata)


def move_progress(artifact: UUID, percent: float, description: str) -> None:
    """Move a bar: it has no versions."""
    _client().update_artifact(artifact, ArtifactUpdate(data=percent, description=description))


def belongs_here(artifact: Artifact) -> bool:
    """Tell whether an artifact was written by the flow run that this thread works for."""
    return str(artifact.flow_run_id) == runtime.flow_run.id


def _add(key: str, kind: str, data: str | float, description: str, metadata: Mapping[str, str]) -> UUID:
    # create_table_artifact and its like drop the metadata, by which a run finds its own again
    request = ArtifactCreate(
        key=key,
        type=kind,
        data=data,
        description=description,
        metadata_=dict(metadata),
        flow_run_id=_uuid(runtime.flow_run.id),
        task_run_id=_uuid(runtime.task_run.id),
    )
    return _client().create_artifact(request).id


def _client() -> SyncPrefectClient:
    """Take the connection of the flow run that this thread works for."""
    return get_client(sync_client=True)


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None
