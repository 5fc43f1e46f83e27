"""Limits of a member's tasks, which the watchdog of its worker enforces."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one phase (training or evaluation) of a member: seconds, and bytes of its process; None = no limit."""

    deadline_s: float | None = None
    memory: int | None = None
