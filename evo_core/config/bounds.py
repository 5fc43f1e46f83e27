"""Upper bounds of numbers, texts and lists in configurations, forms and commands.

Forms send JSON: browsers round integers beyond 2⁵³, and Prefect's server cannot list flow runs with integers beyond
2⁶⁴. Sizes are bounded by what is possible in practice.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, get_args

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

SAFE_INTEGER = 2**53 - 1
"""The largest whole number that JSON carries to a browser, or through a float, without rounding it."""

LARGEST = 1e15
"""The largest returns, targets and other real numbers that have no bound of their own."""

MOST_GENERATIONS = 10**9
MOST_MEMBERS = 100_000
MOST_WORKERS = 10_000
"""Worker processes, and runs at a time."""

MOST_EPISODES = 100_000
MOST_LAYERS = 128
"""Hidden layers of one part of a network."""

LONGEST_S = 30 * 86_400
"""Seconds that one phase of a member may be given: thirty days."""

LONGEST_NAME = 255
"""Characters of a name, such as an environment's."""

LONGEST_ADDRESS = 4096
"""Characters of a path or an address."""

MOST_ENTRIES = 1000
"""Entries of one list or mapping among the arguments of an environment or a wrapper."""

LONGEST_TEXT = 10_000
"""Characters of one text there."""

DEEPEST = 6
"""Maximum nesting depth of such lists and mappings."""


def describe_range(low: float, high: float, *, above: bool = False) -> str:
    """Describe a range in words: 1 to 4096; if `above`, the lower bound is excluded: above 0, at most 1."""
    return f"above {_written(low)}, at most {_written(high)}" if above else f"{_written(low)} to {_written(high)}"


def limits(metadata: Iterable[Any]) -> tuple[float, float, bool]:
    """Return the bounds in a field's metadata: lower, upper, and whether the lower one is excluded."""
    found = {type(limit): limit for limit in metadata}
    above = Gt in found
    return found[Gt].gt if above else found[Ge].ge, found[Le].le, above


def bounded(description: str, kind: Any = None, *, null: str = "", default: Any = ..., **constraints: Any) -> Any:
    """Declare a field of the configuration that is a number, whose description ends with its range.

    The range is that of the constraints, or of `kind` if the field holds several such numbers. `null` says what holds
    without a value.
    """
    low, high, above = limits((Field(**constraints) if kind is None else get_args(kind)[1]).metadata)
    words = describe_range(low, high, above=above)
    end = f"; null = {null}." if null else "."
    text = f"{description} {words[0].upper()}{words[1:]}{end}"
    return Field(default=default, description=text, **constraints)


def _written(number: float) -> str:
    return str(number) if isinstance(number, int) else re.sub(r"e\+?(-?)0*", r"e\1", f"{number:g}")


def require_bounded(value: JsonValue, depth: int = DEEPEST) -> JsonValue:
    """Return an argument of an environment; ValueError when a number, text, list or mapping in it is too large."""
    if isinstance(value, str):
        _require(len(value) <= LONGEST_TEXT, f"texts of at most {LONGEST_TEXT} characters", f"one of {len(value)}")
    elif isinstance(value, int | float):
        allowed = abs(value) <= SAFE_INTEGER or (isinstance(value, float) and math.isfinite(value))
        _require(allowed, f"whole numbers from -{SAFE_INTEGER} to {SAFE_INTEGER}", f"{str(value)[:40]}")
    elif isinstance(value, list | Mapping):
        _require(depth > 0 or not value, f"lists and mappings of at most {DEEPEST} levels", "more")
        _require(len(value) <= MOST_ENTRIES, f"at most {MOST_ENTRIES} entries", f"{len(value)}")
        for key in value if isinstance(value, Mapping) else ():
            _require(len(key) <= LONGEST_NAME, f"names of at most {LONGEST_NAME} characters", f"one of {len(key)}")
        for item in value.values() if isinstance(value, Mapping) else value:
            require_bounded(item, depth - 1)
    return value


def _require(allowed: bool, expected: str, got: str) -> None:
    if not allowed:
        raise ValueError(f"expected {expected}, got {got}")


def _schema(depth: int) -> dict[str, Any]:
    """Describe what `require_bounded` allows as a JSON schema, by which the server validates forms."""
    bounds: dict[str, Any] = {"minimum": -SAFE_INTEGER, "maximum": SAFE_INTEGER, "maxLength": LONGEST_TEXT}
    if depth == 0:
        return {**bounds, "maxItems": 0, "maxProperties": 0}
    inner = _schema(depth - 1)
    return {**bounds, "maxItems": MOST_ENTRIES, "items": inner, **_entries(inner)}


def _entries(inner: dict[str, Any]) -> dict[str, Any]:
    names = {"maxLength": LONGEST_NAME}
    return {"maxProperties": MOST_ENTRIES, "propertyNames": names, "additionalProperties": inner}


Arguments = Annotated[
    dict[str, JsonValue],
    AfterValidator(require_bounded),
    WithJsonSchema({"type": "object", **_entries(_schema(DEEPEST - 1))}),
]
"""Keyword arguments of an environment or a wrapper."""

SIZES_DEEPEST = 10
"""Maximum nesting depth of the sizes of a network's parts: a dictionary under recurrent layers needs eight."""

Sizes = Annotated[
    dict[str, JsonValue],
    AfterValidator(lambda value: require_bounded(value, SIZES_DEEPEST)),
    WithJsonSchema({"type": "object", **_entries(_schema(SIZES_DEEPEST - 1))}),
]
"""The sizes of a network's parts, as in the genome of a record."""
