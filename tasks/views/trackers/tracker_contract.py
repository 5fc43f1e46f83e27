"""The contract of a plugin's tracker."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.local import RunResult, train_on_policy
from evo_core.records.chain import Generation
from evo_core.training import record_lost_member
from tasks.runs.run_store import RunStore
from tasks.store import open_store
from tasks.views.trackers.recorder import TrackRecorder


class TrackerContract:
    """What every tracker must do. Set `plugin` to its class, and override `read` to return what its tool shows.

    Set the environment variables that lead the tool to `directory` in `prepare`.
    """

    plugin: ClassVar[type]

    def prepare(self, directory: Path, monkeypatch: object) -> None:
        """Called before every test, with a new directory and pytest's `monkeypatch`."""

    def read(self, directory: Path) -> Sequence[int] | None:
        """Return the generations that the tool shows, in order; None if that cannot be read."""
        return None

    def test_it_shows_every_generation_once(self, tmp_path: Path, monkeypatch: object) -> None:
        """For a run from its start to its end."""
        self.prepare(tmp_path, monkeypatch)
        run, config, result = _stored(tmp_path)
        recorder = self._recorder(run, config, tmp_path)
        assert recorder.catch_up(result.commits[-1]) == 3
        recorder.finish(Ending(result.status, result.elite, result.confirmed))
        self._require([1, 2, 3], tmp_path)

    def test_it_goes_on_where_it_was_interrupted(self, tmp_path: Path, monkeypatch: object) -> None:
        """For a run that was killed and resumed."""
        self.prepare(tmp_path, monkeypatch)
        run, config, result = _stored(tmp_path)
        for commit in result.commits[1:]:
            recorder = self._recorder(run, config, tmp_path)
            recorder.catch_up(commit)
            recorder.close()
        self._require([1, 2, 3], tmp_path)

    def test_it_shows_members_that_failed(self, tmp_path: Path, monkeypatch: object) -> None:
        """They have neither fitness nor checkpoint."""
        self.prepare(tmp_path, monkeypatch)
        run, config, result = _stored(tmp_path, failed=True)
        recorder = self._recorder(run, config, tmp_path)
        assert recorder.catch_up(result.commits[1]) == 1
        recorder.close()
        self._require([1], tmp_path)

    def _recorder(self, run: RunStore, config: RunConfig, directory: Path) -> TrackRecorder:
        name = f"{self.plugin.__module__}:{self.plugin.__qualname__}"
        packages = (self.plugin.__module__,)
        return TrackRecorder(name, run, config, directory / "tracking", packages)

    def _require(self, generations: list[int], directory: Path) -> None:
        shown = self.read(directory)
        assert shown is None or list(shown) == generations, f"expected generations {generations}, got {shown}"


def _stored(directory: Path, *, failed: bool = False) -> tuple[RunStore, RunConfig, RunResult]:
    """Store a small run; the last member of its first generation may be a failed one."""
    config, result = _run()
    run = RunStore(open_store((directory / "runs").as_uri()), "run")
    run.create_run(config)
    first = result.commits[1]
    if failed:
        lost = record_lost_member(first.members[-1].offspring, None, "lost")
        first = first.model_copy(update={"members": (*first.members[:-1], lost)})
    commits: tuple[Generation, ...] = (result.commits[0], first) if failed else result.commits
    for commit in commits:
        run.put_commit(commit)
    return run, config, result


@cache
def _run() -> tuple[RunConfig, RunResult]:
    """Evolve three generations of two members on CartPole, in a second."""
    config = parse_config(
        {
            "env": {"id": "CartPole-v1", "num_envs": 4},
            "algorithm": {"learn_step": 128, "batch_size": 64, "update_epochs": 1},
            "population": {"size": 2},
            "training": {"max_steps": 3 * 2 * 128, "evo_steps": 128},
            "evaluation": {"episodes": 1, "max_steps": 20, "confirm_episodes": 2},
        }
    )
    return config, train_on_policy(config)
