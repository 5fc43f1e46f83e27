"""The observer interface: callbacks during a run, which do nothing by default."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Confirmation, FailureDetail, Generation, Member, Offspring, Training


class Observer:
    """Base class of observers of a run, in the process of its flow."""

    def began(self, run_id: str, head: Generation) -> None:
        """Called when a run starts, or continues from a COMMIT."""

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Called with the members of the next generation, before they are trained."""

    def progressed(self, uid: str, steps: int) -> None:
        """Called with the number of steps that a member has made in its generation."""

    def trained(self, record: Training) -> None:
        """Called after a member was trained."""

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Called after a member was evaluated or failed, with the details of its failure."""

    def committed(self, head: Generation) -> None:
        """Called after a generation was committed."""

    def confirmed(self, record: Confirmation) -> None:
        """Called with the score of a checkpoint on fresh seeds."""

    def ended(self, ending: Ending) -> None:
        """Called with the outcome of the run, unless it failed."""

    def warned(self, message: str) -> None:
        """Called with a message for the user."""


class _Both(Observer):
    """Two observers of the same run."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._both = (first, second)

    def began(self, run_id: str, head: Generation) -> None:
        for each in self._both:
            each.began(run_id, head)

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        for each in self._both:
            each.generation_began(offspring)

    def progressed(self, uid: str, steps: int) -> None:
        for each in self._both:
            each.progressed(uid, steps)

    def trained(self, record: Training) -> None:
        for each in self._both:
            each.trained(record)

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        for each in self._both:
            each.evaluated(member, detail)

    def committed(self, head: Generation) -> None:
        for each in self._both:
            each.committed(head)

    def confirmed(self, record: Confirmation) -> None:
        for each in self._both:
            each.confirmed(record)

    def ended(self, ending: Ending) -> None:
        for each in self._both:
            each.ended(ending)

    def warned(self, message: str) -> None:
        for each in self._both:
            each.warned(message)


_current: ContextVar[Observer] = ContextVar("observer", default=Observer())  # noqa: B039  (stateless)


def observer() -> Observer:
    """Return the observer of this process's run. A function, because flow functions are pickled by value with every
    task, and a context variable cannot be.
    """
    return _current.get()


@contextmanager
def watched_by(watcher: Observer) -> Iterator[None]:
    """Register an observer for the runs that the body starts."""
    token = _current.set(watcher)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def also_watched_by(watcher: Observer) -> Iterator[Observer]:
    """Add an observer to the registered ones; yields all of them as one."""
    both = _Both(observer(), watcher)
    with watched_by(both):
        yield both
