"""Genes: hyperparameters that evolve, each with a range and the scale on which its mutations are symmetric."""

import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from evo_core.config.bounds import LARGEST, LONGEST_NAME, bounded

Number = int | float

MOST_GENES = 32
"""Entries of `search`; there are fewer hyperparameters."""


class Gene(BaseModel):
    """The range of one evolving hyperparameter.

    On its own scale the range is the unit interval: linear in x, in log x (`log`), or in -log(1 - x) (`log1m`, for
    discounts just below one). A mutation is a Gaussian step there, reflected at the bounds, so a long random walk
    visits the interval evenly instead of drifting to one end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, title="Gene")

    min: float = bounded("Smallest value, included.", ge=-LARGEST, le=LARGEST)
    max: float = bounded("Largest value, included. Greater than min; below 1 for log1m.", ge=-LARGEST, le=LARGEST)
    scale: Literal["linear", "log", "log1m"] = Field(
        default="linear", description="Scale of mutations: linear, log (min > 0), or log1m (max < 1; for discounts)."
    )
    step: float = bounded("Standard deviation of a mutation, as a fraction of the range.", default=0.1, gt=0, le=0.5)

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min {self.min:g} and max {self.max:g}; swap them or widen")
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log scale needs min > 0, got {self.min:g}; raise min or use scale: linear")
        if self.scale == "log1m" and self.max >= 1:
            raise ValueError(f"a log1m scale needs max < 1, got {self.max:g}; lower max or use scale: linear")
        if not self._transform(self.min) < self._transform(self.max):
            raise ValueError(
                f"min {self.min!r} and max {self.max!r} are the same number on a {self.scale} scale; widen"
            )
        return self

    def position(self, value: Number) -> float:
        """Place a value on the gene's own scale, 0 at min and 1 at max."""
        low, high = self._transform(self.min), self._transform(self.max)
        return (self._transform(value) - low) / (high - low)

    def value(self, position: float) -> float:
        """Invert `position`, exactly at both ends."""
        low, high = self._transform(self.min), self._transform(self.max)
        return min(max(self._inverse(low + position * (high - low)), self.min), self.max)

    def sample(self, rng: np.random.Generator, *, integer: bool) -> Number:
        """Draw uniformly on the gene's own scale."""
        return self.at(float(rng.random()), integer=integer)

    def at(self, position: float, *, integer: bool) -> Number:
        """Return the value at a position on the gene's own scale, 0 at min and 1 at max."""
        value = self.value(position)
        return self._whole(value) if integer else value

    def mutate(self, value: Number, rng: np.random.Generator, *, integer: bool) -> Number:
        """Step from a value: Gaussian on the gene's own scale, reflected at the bounds; integers move at least by 1."""
        step = float(rng.normal(0.0, self.step))
        moved = self.value(_reflect(self.position(value) + step))
        if not integer:
            return moved
        whole = self._whole(moved)
        if whole != value:
            return whole
        neighbor = int(value) + (1 if step > 0 else -1)
        inside = math.ceil(self.min) <= neighbor <= math.floor(self.max)
        return neighbor if inside else 2 * int(value) - neighbor

    def _whole(self, value: float) -> int:
        return min(max(round(value), math.ceil(self.min)), math.floor(self.max))

    def _transform(self, value: float) -> float:
        match self.scale:
            case "linear":
                return float(value)
            case "log":
                return math.log(value)
            case "log1m":
                return -math.log1p(-value)

    def _inverse(self, transformed: float) -> float:
        match self.scale:
            case "linear":
                return transformed
            case "log":
                return math.exp(transformed)
            case "log1m":
                return -math.expm1(-transformed)


SearchSpace = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)], Gene], Field(max_length=MOST_GENES)
]


def _reflect(position: float) -> float:
    """Fold the real line onto [0, 1] like a mirror at both ends."""
    folded = position % 2.0
    return 2.0 - folded if folded > 1.0 else folded
