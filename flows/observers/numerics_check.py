"""Compare the workers' numerics with those of the run's own process; report each difference once."""

from collections.abc import Mapping

from evo_core.numerics.provenance import DEVICE, numerics, numerics_differences
from flows.observers.observer import observer
from flows.settings import Settings
from tasks.runs.ref import RunRef
from tasks.runs.run_records import Timing

_said: set[tuple[str, tuple[str, ...]]] = set()
"""Reported differences by host in the current run."""


def start_numerics_check(run: RunRef, settings: Settings) -> None:
    """Reset the reported differences; warn if this process was not started with the configured numerics."""
    _said.clear()
    mode = _of_this_process(run)["mode"]
    if settings.numerics == "portable" != mode:
        observer().warned(
            "EVOLVE_NUMERICS is portable, but this process was started without the variables that make it so, and "
            "computes natively; start a Prefect worker by `evolve portable prefect worker start …`"
        )


def compare_numerics(run: RunRef, uid: str, timing: Timing | None, found: Mapping[str, str]) -> None:
    """Warn once per machine if the numerics of a member differ from those of this process, apart from the device.
    `timing` is None of a member that was found in the store.
    """
    different = tuple(numerics_differences({k: v for k, v in found.items() if k not in DEVICE}, _of_this_process(run)))
    place = timing.host if timing is not None else "the store"
    if not different or (place, different) in _said:
        return
    _said.add((place, different))
    reason = "; ".join(different)
    if timing is None:
        observer().warned(f"{uid} was found in the store, made with {reason}: the chain may differ from here on")
    else:
        observer().warned(f"workers on {place} compute with {reason}: the bits of {uid} and other members may differ")


def _of_this_process(run: RunRef) -> Mapping[str, str]:
    return numerics("cpu", run.config)
