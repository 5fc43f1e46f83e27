"""Canonical JSON: equal values give equal text."""

import math

from evo_core.genome.architecture import Record
from evo_core.records.canonical import canonical_json


class Values(Record):
    b: float
    a: dict[str, tuple[float, ...]]


def test_keys_are_sorted_floats_are_short_and_what_is_not_finite_is_null():
    finite = Values(b=0.1, a={"ü": (1.0, 1e-7)})
    assert canonical_json(finite).decode() == '{"a":{"ü":[1.0,1e-07]},"b":0.1}'
    odd = Values(b=math.nan, a={"y": (math.inf, 2.0)})
    assert canonical_json(odd) == b'{"a":{"y":[null,2.0]},"b":null}'
    assert canonical_json({"b": (1, 2), "a": math.nan}) == b'{"a":null,"b":[1,2]}'
