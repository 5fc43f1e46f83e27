"""Trackers of plugins: only `log` is required, everything else has a default."""

from pathlib import Path
from typing import Protocol

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation
from tasks.views.trackers.tracker import TrackedRun, Tracker

LOGGED = "logged"
"""File with the last generation that a plugin without `begin` was given."""


class TrackerPlugin(Protocol):
    """A tracker of a plugin, created without arguments.

    It may have the other methods of `tasks.views.trackers.tracker.Tracker` too: `begin(run)`, `finish(ending)`,
    `media(path)`, `close()`, and `variables`.
    """

    def log(self, commit: Generation) -> None:
        """Called with every finished generation, in order."""
        ...


class PluginTracker(Tracker):
    """Tracker that calls those methods that a plugin has.

    For a plugin without `begin`, the generations that it was given are counted in a file of the run's directory, so
    that it gets each once; after a crash, the last one may come twice.
    """

    def __init__(self, plugin: TrackerPlugin) -> None:
        self._plugin = plugin
        self._counted: Path | None = None
        self.variables = tuple(getattr(plugin, "variables", ()))  # type: ignore[misc]  # a plugin's own

    @property
    def shows_media(self) -> bool:
        """Return True if the plugin accepts images and videos."""
        return hasattr(self._plugin, "media")

    def begin(self, run: TrackedRun) -> int:
        """Start or resume a run; return the last generation that the tool holds completely."""
        if (begin := getattr(self._plugin, "begin", None)) is not None:
            return int(begin(run))
        self._counted = run.directory / LOGGED
        return int(self._counted.read_text()) if self._counted.exists() else 0

    def log(self, commit: Generation) -> None:
        """Pass on a generation."""
        self._plugin.log(commit)
        if self._counted is not None:
            written = self._counted.with_suffix(".tmp")
            written.write_text(str(commit.generation))
            written.replace(self._counted)

    def finish(self, ending: Ending) -> None:
        """Pass on how the run ended."""
        self._pass_on("finish", ending)

    def media(self, path: Path) -> None:
        """Pass on an image or video."""
        self._pass_on("media", path)

    def close(self) -> None:
        """Let the plugin release its resources."""
        self._pass_on("close")

    def _pass_on(self, method: str, *arguments: object) -> None:
        if (found := getattr(self._plugin, method, None)) is not None:
            found(*arguments)
