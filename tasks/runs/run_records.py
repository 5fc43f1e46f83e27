"""Records of a run that are not part of its chain."""

from datetime import datetime
from typing import Any

from pydantic import Field, JsonValue

from evo_core.config.run_config import RunConfig
from evo_core.genome.architecture import Record
from evo_core.records.canonical import canonical_json, sha256
from evo_core.records.chain import SCHEMA, Failure, FailureDetail


class Fork(Record):
    """Origin of a fork: the run, its generation, and the hash of that COMMIT."""

    run_id: str
    generation: int
    commit: str


class RunFile(Record):
    """run.json: what the run computes, and where it forked from."""

    schema_version: int = SCHEMA
    config: RunConfig
    forked_from: Fork | None = None


class Extension(Record):
    """A budget that replaces the previous one."""

    max_steps: int
    target: float | None = Field(allow_inf_nan=False)


class Release(Record):
    """Released checkpoints, with the head and rule by which they were released."""

    head: int
    keep_generations: int
    blobs: tuple[str, ...]


class Timing(Record):
    """Time and host of a phase of a member."""

    start: datetime
    end: datetime
    host: str
    process: int
    attempt: int = 1


class Timings(Record):
    """Times and hosts of the members of a generation, by uid and phase. For views; not hashed.

    Members that the committing process found in the store are missing.
    """

    train: dict[str, Timing] = Field(default_factory=dict)
    evaluate: dict[str, Timing] = Field(default_factory=dict)


class FailedMember(Record):
    """Failure of one member of an attempt."""

    failure: Failure
    detail: FailureDetail | None = None


class FailedAttempt(Record):
    """An attempt at a generation in which too few members finished, by uid of those that failed. For views."""

    members: dict[str, FailedMember]


def sealed_bytes(record: Record, numerics: dict[str, str], detail: FailureDetail | None = None) -> bytes:
    """Serialize a record as it is stored: the canonical JSON of a `Sealed`, assembled from the record's own.

    A failure's detail is stored next to the record, and is left out if there is none.
    """
    body, beside = canonical_json(record), dict[str, JsonValue](numerics)
    digest = sha256(body)
    said: dict[str, Any] = {} if detail is None else {"detail": detail.model_dump(mode="json")}
    seal = sha256(canonical_json({"sha256": digest, "numerics": beside, **said}))
    first = b'"detail":%b,' % canonical_json(said["detail"]) if said else b""
    return b'{%b"numerics":%b,"record":%b,"seal":"%b","sha256":"%b"}' % (
        first,
        canonical_json(beside),
        body,
        seal.encode(),
        digest.encode(),
    )


def extended(config: RunConfig, extension: Extension) -> RunConfig:
    """Return a configuration with a raised budget in place of the original one."""
    training = config.training.model_copy(update={"max_steps": extension.max_steps, "target": extension.target})
    return config.model_copy(update={"training": training})
