"""Trackers by name. To add one, add a module with a class `Tracker` and one line here. Imports nothing heavy."""

from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING

from evo_core.plugins.installed import OF_MODULE, offers
from evo_core.plugins.kinds import TRACKER
from evo_core.plugins.loading import import_allowed, load

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


def is_tracker(name: str) -> bool:
    """Return True for the name of a tracker: one of ours, an installed plugin's, or package.module:Name."""
    return name in TRACKERS or name in offers(TRACKER) or OF_MODULE.fullmatch(name) is not None


def make_tracker(name: str, packages: Collection[str] = ()) -> "Tracker":
    """Create a tracker; MissingExtra, with what to install, if its package is missing.

    `packages` may be imported for a plugin named package.module:Name; PluginError if one cannot be used.
    """
    if name not in TRACKERS:
        return _plugin(name, packages)
    try:
        tracker: Tracker = import_module(TRACKERS[name]).Tracker()
    except ImportError as error:
        raise MissingExtra(f"{name} is not installed ({error}): pip install 'evolve-rl[{name}]'") from error
    return tracker


def _plugin(name: str, packages: Collection[str]) -> "Tracker":
    from tasks.views.trackers.plugin_tracker import PluginTracker
    from tasks.views.trackers.tracker import Tracker

    import_allowed(TRACKER, name, packages)
    made = load(TRACKER, name)
    return made if isinstance(made, Tracker) else PluginTracker(made)
