"""What an environment observes and accepts."""

from dataclasses import dataclass
from typing import Any

from gymnasium import Space


@dataclass(frozen=True, slots=True)
class Spaces:
    """Observation and action space of a single environment."""

    observation: Space[Any]
    action: Space[Any]
