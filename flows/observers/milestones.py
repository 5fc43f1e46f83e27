"""Milestones of a run in the log of its Prefect flow run."""

import logging

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Confirmation, FailureDetail, Generation, Member, Offspring
from flows.observers.observer import Observer
from flows.observers.terminal import describe_beginning, describe_confirmation, describe_delivery, describe_generation
from tasks.logs.redaction import concealed
from tasks.logs.run_log import run_logger, same_run
from tasks.views.phrases import describe_detail, describe_failure, describe_left_over


class RunLog(Observer):
    """Observer that writes milestones to the log of the current flow run, and of the subflow in which they happen."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._whole_run = run_logger()

    def began(self, run_id: str, head: Generation) -> None:
        """Report where the run starts."""
        self._say(describe_beginning(run_id, head, self._config))

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Log which members the generation trains."""
        self._say(f"generation {offspring[0].generation} begins: {len(offspring)} members")

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Log which members failed, and why; the logs of their tasks have details."""
        if member.failure is not None:
            said = f": {describe_detail(detail)}" if detail is not None else ""
            self._say(f"{member.uid} {describe_failure(member.failure)}{said}", logging.WARNING)

    def committed(self, head: Generation) -> None:
        """Report the result of the generation."""
        self._say(describe_generation(head, self._config))

    def confirmed(self, record: Confirmation) -> None:
        """Report the score of a checkpoint on fresh seeds."""
        self._say(describe_confirmation(record))

    def ended(self, ending: Ending) -> None:
        """Log the outcome of the run and the delivered agent."""
        self._say(f"{ending.status.replace('_', ' ')}: delivers {describe_delivery(ending, self._config)}")
        if ending.status == "budget_spent" and (left_over := describe_left_over(self._config)):
            self._say(left_over)

    def warned(self, message: str) -> None:
        """Report a warning."""
        self._say(message, logging.WARNING)

    def _say(self, message: str, level: int = logging.INFO) -> None:
        here = run_logger()
        loggers = [logger for logger in (self._whole_run, here) if logger is not None]
        if len(loggers) == 2 and same_run(*loggers):
            loggers.pop()
        for logger in loggers:
            logger.log(level, "%s", concealed(message))
