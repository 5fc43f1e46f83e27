"""The interface of views of a run: each is brought up to date with the store."""

from abc import ABC, abstractmethod

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation


class View(ABC):
    """A view of one run: the Optuna study, or a tracker. Only `catch_up` is required."""

    @abstractmethod
    def catch_up(self, head: Generation) -> int:
        """Add what is missing up to a COMMIT; return the number of items added."""
        ...

    def advance(self, steps: int) -> None:
        """Called often, possibly late, with the steps trained by the run, including its running generation."""

    def finish(self, ending: Ending) -> None:
        """Called with how the run ended, once everything is added."""

    def close(self) -> None:
        """Release files and connections; the view may be opened again."""
