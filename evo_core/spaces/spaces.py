"""What an environment observes and accepts."""

from dataclasses import dataclass
from typing import Any

from gymnasium import Space


@dataclass(frozen=True, slots=True)
class Spaces:
    """What one environment (not a vector of them) observes and accepts."""

    observation: Space[Any]
    action: Space[Any]
