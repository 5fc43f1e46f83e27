"""Progress of a run in training steps while a generation is under way."""

from collections.abc import Callable

from evo_core.records.chain import Generation, Offspring, Training
from flows.observers.observer import Observer


class Progress(Observer):
    """Counts the training steps of the whole population, those of the running generation included.

    `tell` hears the count whenever it changes, from whichever thread that happens in.
    """

    def __init__(self, on_change: Callable[[int], None]) -> None:
        self._on_change = on_change
        self._finished = 0
        self._steps: dict[str, int] = {}

    def began(self, run_id: str, head: Generation) -> None:
        """Start from a COMMIT."""
        self._finished = head.train_steps

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Count for these members from here on."""
        self._steps = {child.uid: 0 for child in offspring}

    def progressed(self, uid: str, steps: int) -> None:
        """Count what a member has done so far; comes from another thread."""
        if uid in self._steps:
            self._steps[uid] = steps
            self._on_change(self._finished + sum(list(self._steps.values())))

    def trained(self, record: Training) -> None:
        """Count what a member did, also where the store had it already."""
        self.progressed(record.uid, record.steps)

    def committed(self, head: Generation) -> None:
        """Continue from the new COMMIT."""
        self._steps, self._finished = {}, head.train_steps
