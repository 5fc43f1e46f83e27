"""The result of a run: printed for people, as one JSON object, and as an exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from evo_core.config.run_config import RunConfig
from evo_core.records.failures import GenerationFailed
from flows.next_steps import changed_settings, evolve_command
from flows.observers.terminal import describe_delivery
from flows.operational import OperationalSettings
from flows.prefect_server.outages import describe_outage
from flows.settings import Settings
from tasks.logs.redaction import without_password
from tasks.store import GoneError, StoreError, open_store
from tasks.views.phrases import describe_evaluation_steps, describe_generations, describe_left_over, describe_target

if TYPE_CHECKING:
    from flows.outcome import RunSummary

FINE, FAILED, BEHIND = 0, 1, 3


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The final output of a run. `summary` is None when it failed or was interrupted; `failure` is the reason."""

    run_id: str
    config: RunConfig
    settings: Settings
    summary: "RunSummary | None"
    failure: BaseException | None
    wall_s: float
    failures: Sequence[Mapping[str, object]] = ()

    @property
    def status(self) -> str:
        """One of target_reached, budget_spent, failed, interrupted."""
        if self.summary is not None:
            return self.summary.status
        return "failed" if isinstance(self.failure, Exception) else "interrupted"

    @property
    def exit_code(self) -> int:
        """0 fine, 1 failed or interrupted, 3 trained but a view is behind."""
        if self.summary is None:
            return FAILED
        return BEHIND if self.summary.behind else FINE

    def as_json(self) -> dict[str, object]:
        """The report as JSON, for scripts."""
        where = {
            "store": f"{self.settings.store_url}/{self.run_id}",
            "study": without_password(self.settings.study_url),
        }
        if self.settings.trackers:
            where["tracking"] = str(self.settings.tracking_directory)
        common = {"run_id": self.run_id, "status": self.status, "wall_s": round(self.wall_s, 3), **where}
        common |= {"failures": list(self.failures), "fitness": self.config.evaluation.objective.summary}
        if self.summary is None:
            unknown = ("generations", "train_steps", "eval_steps", "left_over_steps", "elite", "confirmed", "head")
            return {**common, **dict.fromkeys(unknown), "error": describe_run_failure(self.failure)}
        s = self.summary
        return {
            **common,
            "generations": s.generations,
            "train_steps": s.train_steps,
            "eval_steps": s.eval_steps,
            "left_over_steps": self._left_over_steps(s.train_steps) if s.status == "budget_spent" else 0,
            "elite": s.elite.model_dump(include={"uid", "fitness", "fitness_sem", "episodes", "objectives"}),
            "confirmed": s.confirmed.model_dump(include={"mean", "ci95", "episodes", "mean_return", "objectives"})
            if s.confirmed
            else None,
            "head": s.head,
        }

    def _left_over_steps(self, trained: int) -> int:
        if self.config.population.sizing == "adaptive":
            return self.config.training.max_steps - trained
        return self.config.left_over_steps

    def show(self, console: Console) -> None:
        """Print the outcome, the locations of results, and next steps."""
        console.rule(f"{self.run_id}: {self.status.replace('_', ' ')}", align="left")
        for line in self._outcome() if self.summary is not None else self._advice():
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _outcome(self) -> list[str]:
        s = self.summary
        assert s is not None
        target = "" if self.config.training.target is None else f"; target {describe_target(self.config)}"
        left_over = describe_left_over(self.config) if s.status == "budget_spent" else ""
        lines = [
            f"delivered   {describe_delivery(s.ending, self.config)}{target}",
            f"trained     {s.train_steps:,} steps in {describe_generations(s.generations)}, {self.wall_s:.0f} s"
            f"; evaluated {describe_evaluation_steps(s.eval_steps, s.train_steps)}",
            *([f"left over   {left_over}"] if left_over else []),
            f"agent       {self.settings.store_url}/{self.run_id}/blobs/{s.elite.blob.sha256}.safetensors",
            f"lineage     {without_password(self.settings.study_url)}",
            *([f"tracking    {self.settings.tracking_directory}"] if self.settings.trackers else []),
            f"chain head  {s.head}",
            *self._next_steps(),
        ]
        if s.behind:
            lines.append(f"warning     {s.behind}; {self._command('resume')} brings it up to date")
        return lines

    def _next_steps(self) -> list[str]:
        steps = {
            "report": "report on one page",
            "watch": "watch the agent",
            "export": "export its policy",
        }
        commands = {self._command(name, "store"): comment for name, comment in steps.items()}
        width = max(map(len, commands))
        heads = ("next        ", *(" " * 12 for _ in steps))
        return [
            f"{head}{command:<{width}}  # {comment}"
            for head, (command, comment) in zip(heads, commands.items(), strict=False)
        ]

    def _advice(self) -> list[str]:
        reason = "stopped by the user" if self.status == "interrupted" else describe_run_failure(self.failure)
        if isinstance(self.failure, GenerationFailed):
            return [
                reason,
                "nothing is lost: fix the environment (after a deadline or a full memory raise --member-deadline or "
                f"--member-memory), then {self._command('resume')}, which tries these members again; or begin a run "
                "with a lower population.min_survivors",
            ]
        if isinstance(self.failure, GoneError):
            return [reason, f"when it is back, nothing is lost: {self._command('resume')}"]
        if not self._begun():
            return [reason]
        return [reason, f"nothing is lost: {self._command('resume')}"]

    def _begun(self) -> bool:
        """Return True if there may be a run to resume; an unreachable store may hold one."""
        try:
            return open_store(self.settings.store_url, patience_s=1).exists(f"{self.run_id}/run.json")
        except StoreError:
            return True

    def _command(self, command: str, *names: str) -> str:
        """Return a command for this run with the settings that are not the default."""
        flags = changed_settings(self.settings, *(names or OperationalSettings.model_fields))
        if "://" in str(flags.get("study")):
            flags["study"] = without_password(str(flags["study"]))
        return evolve_command(command, self.run_id, **flags)


def describe_run_failure(failure: BaseException | None) -> str:
    """Describe in one sentence what went wrong."""
    outage = describe_outage(failure) if failure is not None else None
    return outage or f"{type(failure).__name__}: {failure}"
