"""Weights & Biases tracker: one row of history per generation, with a metric such as `member 03/fitness` per slot.

Every slot has its own x axis, the environment steps that its weights were trained for. W&B's variables apply
(WANDB_MODE, WANDB_PROJECT, WANDB_API_KEY, …); without a login the run is kept offline, for `wandb sync`.
"""

import os
import shutil
from pathlib import Path
from typing import Literal, cast

import wandb

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation
from tasks.views.trackers import tracker as base
from tasks.views.trackers.measures import generation_measures, lineage_row, member_measures, member_steps
from tasks.views.trackers.tracker import member_name

Mode = Literal["online", "offline", "disabled", "shared"]


class Tracker(base.Tracker):
    """Weights & Biases tracker.

    Online, a run is resumed by its id. Offline, W&B creates another directory whenever a run is resumed, and of two
    that are synced the later one replaces the earlier: so everything is logged again, and earlier directories are
    deleted.
    """

    variables = ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_DIR")

    def begin(self, run: base.TrackedRun) -> int:
        """Start or resume W&B's run; return the last generation that it holds."""
        self._tracked = run
        directory = Path(os.environ.get("WANDB_DIR", run.directory))
        run_id = f"{run.run_id[:48]}-{run.founders[:12]}"
        mode = _mode()
        if mode == "offline":
            for left in (directory / "wandb").glob(f"offline-run-*-{run_id}"):
                shutil.rmtree(left)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "evolve"),
            id=run_id,
            name=os.environ.get("WANDB_NAME", run.run_id),
            dir=directory,
            mode=mode,
            resume="allow",
            config=run.config.model_dump(mode="json"),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._define(run.config.population.size)
        self._generation = int(self._run.summary.get("generation") or 0)
        return self._generation

    def log(self, commit: Generation) -> None:
        """Log the row of a generation.

        W&B drops a row whose step it has: steps of generations are even, so that the table of a run that is extended
        later has a step of its own in between.
        """
        row: dict[str, object] = {
            "train_steps": commit.train_steps,
            **generation_measures(commit, self._tracked.config),
        }
        for member in commit.members:
            slot, offspring = member_name(member.offspring.index), member.offspring
            row |= {f"{slot}/{name}": value for name, value in member_measures(member).items()}
            row |= {f"{slot}/steps": member_steps(member), f"{slot}/mutation": offspring.mutation.kind}
            row[f"{slot}/parent"] = offspring.parent or ""
        self._generation = commit.generation
        self._run.log(row, step=2 * commit.generation, commit=True)

    def finish(self, ending: Ending) -> None:
        """Log the family tree as a table, and add the delivered agent to the summary."""
        rows = [lineage_row(member) for member in self._tracked.members()]
        table = wandb.Table(columns=list(rows[0]), data=[_cells(row) for row in rows])
        self._run.log({"lineage": table}, step=2 * self._generation + 1, commit=True)
        confirmed = ending.confirmed
        self._run.summary.update(
            {
                "status": ending.status,
                "delivered": ending.elite.uid,
                "confirmed": confirmed.mean if confirmed else None,
                "confirmed_episodes": confirmed.episodes if confirmed else 0,
            }
        )

    def media(self, path: Path) -> None:
        """Log a video or image, in one row with the table that `finish` may add."""
        kind = wandb.Video if path.suffix in (".mp4", ".gif", ".webm", ".ogg") else wandb.Image
        self._run.log({path.stem: kind(str(path))}, step=2 * self._generation + 1, commit=False)

    def close(self) -> None:
        """Finish W&B's run in this process."""
        self._run.finish()

    def _define(self, members: int) -> None:
        """Define an x axis for every slot, and the total steps as that of the population."""
        self._run.define_metric("train_steps", hidden=True)
        self._run.define_metric("*", step_metric="train_steps")
        for index in range(members):
            slot = member_name(index)
            self._run.define_metric(f"{slot}/steps", hidden=True)
            self._run.define_metric(f"{slot}/*", step_metric=f"{slot}/steps")


def _mode() -> Mode:
    """Return W&B's mode; offline without a login, because W&B would prompt for a key on the terminal."""
    mode = wandb.setup(wandb.Settings(silent=True)).settings.mode
    offline = mode == "online" and not wandb.login(prompt=False, verify=False)
    return "offline" if offline else cast(Mode, mode)


def _cells(row: dict[str, object]) -> list[object]:
    """Give every column one type, because a mutation's values are numbers or strings."""
    mixed = ("mutation_from", "mutation_to")
    return [str(value) if name in mixed and value is not None else value for name, value in row.items()]
