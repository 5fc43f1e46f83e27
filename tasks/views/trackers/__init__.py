"""Trackers by name. To add one, add a module with a class `Tracker` and one line here. Imports nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.views.trackers.tracker import Tracker

TRACKERS: dict[str, str] = {
    "csv": "tasks.views.trackers.csv_file",
    "tensorboard": "tasks.views.trackers.tensorboard",
    "wandb": "tasks.views.trackers.wandb",
    "mlflow": "tasks.views.trackers.mlflow",
}
"""The module of each tracker; all but the first need the extra of their name."""


class MissingExtra(RuntimeError):
    """A tracker whose package is not installed."""


def make_tracker(name: str) -> "Tracker":
    """Create a tracker; MissingExtra, with what to install, if its package is missing."""
    try:
        tracker: Tracker = import_module(TRACKERS[name]).Tracker()
    except ImportError as error:
        raise MissingExtra(f"{name} is not installed ({error}): pip install 'evolve-rl[{name}]'") from error
    return tracker
