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
    """Return the key of a run's artifact: `leaderboard-RUN`, unique for every run.

    Keys cannot contain underscores. A run id that has some is prefixed with a dash, with which no run id begins; in it
    dashes are doubled and underscores become `-u`: `a_b-c` gives `leaderboard--a-ub--c`.
    """
    if "_" in run_id:
        run_id = "-" + run_id.replace("-", "--").replace("_", "-u")
    return f"{kind}-{run_id}"


def newest(key: str) -> Artifact | None:
    """Return the newest version of an artifact; None if there is none."""
    found = _client().read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
    )
    return found[0] if found else None


def add_table(key: str, rows: Rows, description: str, metadata: Mapping[str, str]) -> None:
    """Add a version of a table whose columns are the rows' keys; `description` is Markdown."""
    _add(key, "table", json.dumps(rows, ensure_ascii=False), description, metadata)


def add_markdown(key: str, text: str, description: str, metadata: Mapping[str, str]) -> None:
    """Add a version of a Markdown page."""
    _add(key, "markdown", text, description, metadata)


def add_progress(key: str, percent: float, description: str, metadata: Mapping[str, str]) -> UUID:
    """Add a progress bar, from 0 to 100; return the id that `move_progress` takes."""
    return _add(key, "progress", percent, description, metadata)


def move_progress(artifact: UUID, percent: float, description: str) -> None:
    """Update a progress bar in place, because it has no versions."""
    _client().update_artifact(artifact, ArtifactUpdate(data=percent, description=description))


def belongs_here(artifact: Artifact) -> bool:
    """Return True if an artifact was written by this thread's flow run."""
    return bool(str(artifact.flow_run_id) == runtime.flow_run.id)


def _add(key: str, kind: str, data: str | float, description: str, metadata: Mapping[str, str]) -> UUID:
    # Prefect's create_table_artifact etc. drop the metadata, by which a run recognizes its artifacts
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
    """Return the client of this thread's flow run."""
    return get_client(sync_client=True)


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None
