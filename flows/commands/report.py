"""How a run ended: for people, as one JSON object, and as an exit code."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from evo_core.config import RunConfig
from flows.settings import Settings

if TYPE_CHECKING:
    from flows.evolve import RunSummary

FINE, FAILED, BEHIND = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a run. `summary` is None when it failed or was interrupted; then `failure` says why."""

    run_id: str
    config: RunConfig
    settings: Settings
    summary: "RunSummary | None"
    failure: BaseException | None
    wall_s: float

    @property
    def status(self) -> str:
        """One of target_reached, budget_spent, failed, interrupted."""
        if self.summary is not None:
            return self.summary.status
        interrupted = isinstance(self.failure, KeyboardInterrupt) or type(self.failure).__name__ == "TerminationSignal"
        return "interrupted" if interrupted else "failed"

    @property
    def exit_code(self) -> int:
        """0 fine, 1 failed or interrupted, 3 trained but the study is behind."""
        if self.summary is None:
            return FAILED
        return BEHIND if self.summary.lineage_behind else FINE

    def as_json(self) -> dict[str, object]:
        """Everything a script needs to know."""
        where = {"store": f"{self.settings.store_url}/{self.run_id}", "study": self.settings.study_url}
        common = {"run_id": self.run_id, "status": self.status, "wall_s": round(self.wall_s, 3), **where}
        if self.summary is None:
            return {**common, "error": str(self.failure)}
        s = self.summary
        return {
            **common,
            "generations": s.generations,
            "train_steps": s.train_steps,
            "eval_steps": s.eval_steps,
            "elite": s.elite.model_dump(include={"uid", "fitness", "fitness_sem", "episodes"}),
            "confirmed": s.confirmed.model_dump(include={"mean", "ci95", "episodes"}) if s.confirmed else None,
            "head": s.head,
        }

    def show(self, console: Console) -> None:
        """Print how the run ended, where everything lies, and what to do next."""
        console.rule(f"{self.run_id}: {self.status.replace('_', ' ')}", align="left")
        for line in self._outcome() if self.summary is not None else self._advice():
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _outcome(self) -> list[str]:
        s = self.summary
        assert s is not None
        target = self.config.training.target
        lines = [
            f"delivered   {describe_delivery(s)}{f'; target {target:g}' if target is not None else ''}",
            f"trained     {s.train_steps:,} steps in {s.generations} generations, {self.wall_s:.0f} s"
            f"; evaluated {s.eval_steps:,} steps",
            f"agent       {self.settings.store_url}/{self.run_id}/blobs/{s.elite.blob.sha256}.safetensors",
            f"lineage     {self.settings.study_url}",
            f"chain head  {s.head}",
            f"next        evolve status {self.run_id}{self._store_flag()}",
        ]
        if s.lineage_behind:
            lines.append(f"warning     {s.lineage_behind}; `evolve resume {self.run_id}` brings it up to date")
        return lines

    def _advice(self) -> list[str]:
        reason = "stopped by the user" if self.status == "interrupted" else describe_failure(self.failure)
        return [reason, f"nothing is lost: evolve resume {self.run_id}{self._store_flag()}"]

    def _store_flag(self) -> str:
        return "" if self.settings.store == "runs" else f" --store {self.settings.store}"


def describe_delivery(summary: "RunSummary") -> str:
    """Say who is delivered, and how good it is on fresh episodes."""
    elite, confirmed = summary.elite, summary.confirmed
    if confirmed is None:
        return f"{elite.uid}: mean return {elite.fitness:.1f} in selection, not confirmed"
    low, high = confirmed.ci95
    return (
        f"{elite.uid}: mean return {confirmed.mean:.1f} over {confirmed.episodes} fresh episodes "
        f"(95 % CI {low:.1f} to {high:.1f})"
    )


def describe_failure(failure: BaseException | None) -> str:
    """Say in one sentence what went wrong."""
    return f"{type(failure).__name__}: {failure}"
