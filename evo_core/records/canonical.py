"""Canonical JSON and hashes: equal values give equal bytes in every process."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from pydantic import BaseModel, JsonValue


def canonical_json(value: BaseModel | JsonValue) -> bytes:
    """Serialize with sorted keys, no spaces and shortest floats; NaN and infinities become null."""
    if isinstance(value, BaseModel):
        plain = value.model_dump(mode="json")
        with suppress(ValueError):  # nearly all are finite, and checking each one is the slowest part
            return _dumps(plain)
        return _dumps(_plain(plain))
    return _dumps(_plain(value))


def sha256(content: bytes) -> str:
    """Hash bytes to 64 lowercase hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _dumps(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
