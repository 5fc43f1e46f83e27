"""Trackers by name. Another one is a file with a class `Tracker`, and a line here."""

from importlib import import_module

from tasks.trackers.base import Tracker

TRACKERS: dict[str, str] = {
    "csv": "tasks.trackers.csv_file",
    "tensorboard": "tasks.trackers.tensorboard",
    "wandb": "tasks.trackers.wandb",
    "mlflow": "tasks.trackers.mlflow",
}
"""The module of each tracker; those but the first need the extra of their name."""


class MissingExtra(RuntimeError):
    """A tracker whose package is not installed."""


def make_tracker(name: str) -> Tracker:
    """Make a tracker; MissingExtra names what to install when its package is not there."""
    try:
        tracker: Tracker = import_module(TRACKERS[name]).Tracker()
    except ImportError as error:
        raise MissingExtra(f"{name} is not installed ({error}): pip install 'evolve-rl[{name}]'") from error
    return tracker
