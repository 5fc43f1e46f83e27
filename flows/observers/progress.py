"""Progress of a run in training steps while a generation is under way."""

from collections.abc import Callable

from evo_core.records.chain import Generation, Offspring, Training
from flows.observers.observer import Observer


class Progress(Observer):
    """Observer that counts the training steps of the population, including the running generation. `on_change` is
    called with every new count, from any thread.
    """

    def __init__(self, on_change: Callable[[int], None]) -> None:
        self._on_change = on_change
        self._finished = 0
        self._steps: dict[str, int] = {}

    def began(self, run_id: str, head: Generation) -> None:
        """Start counting at a COMMIT."""
        self._finished = head.train_steps

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Reset the counts of the running generation."""
        self._steps = {child.uid: 0 for child in offspring}

    def progressed(self, uid: str, steps: int) -> None:
        """Update the steps of a member; called from another thread."""
        if uid in self._steps:
            self._steps[uid] = steps
            self._on_change(self._finished + sum(list(self._steps.values())))

    def trained(self, record: Training) -> None:
        """Set the final steps of a member, also if it was already stored."""
        self.progressed(record.uid, record.steps)

    def committed(self, head: Generation) -> None:
        """Continue from the new COMMIT."""
        self._steps, self._finished = {}, head.train_steps
