"""Records as they are stored."""

from typing import Generic, TypeVar

from pydantic import Field, SerializeAsAny

from evo_core.genome.architecture import Record
from evo_core.records.chain import FailureDetail

RecordT = TypeVar("RecordT", bound=Record)


class Sealed(Record, Generic[RecordT]):
    """A record as stored: with its hash and, outside the hashed part, the numerics it was computed under.

    `detail`, of members that failed, is there too. `seal` is the hash of hash, numerics and detail, so that any
    change of a stored record is detected.
    """

    record: SerializeAsAny[RecordT]
    sha256: str
    numerics: dict[str, str]
    detail: FailureDetail | None = Field(default=None, exclude_if=lambda value: value is None)
    seal: str
