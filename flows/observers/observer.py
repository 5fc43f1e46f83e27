"""The observer interface: callbacks during a run, which do nothing by default."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from evo_core.records.chain import Confirmation, FailureDetail, Generation, Member, Offspring, Training
from tasks.views.view import Ending


class Observer:
    """Hears what happens in a run, in the process of its flow."""

    def began(self, run_id: str, head: Generation) -> None:
        """Hear that a run starts, or goes on from a COMMIT."""

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Hear whom the next generation trains."""

    def progressed(self, uid: str, steps: int) -> None:
        """Hear how many steps a member has made in its generation."""

    def trained(self, record: Training) -> None:
        """Hear that a member was trained."""

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Hear that a member was evaluated, or failed, and what its failure said."""

    def committed(self, head: Generation) -> None:
        """Hear that a generation exists."""

    def confirmed(self, record: Confirmation) -> None:
        """Hear the score of a checkpoint on fresh seeds."""

    def ended(self, ending: Ending) -> None:
        """Hear how the run ended, unless it failed."""

    def warned(self, message: str) -> None:
        """Hear what the user should know."""


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
    """Whoever watches this process's run.

    A function, because flow functions are pickled by value with every task, and a context variable cannot be.
    """
    return _current.get()


@contextmanager
def watched_by(watcher: Observer) -> Iterator[None]:
    """Let an observer watch the runs that the body starts."""
    token = _current.set(watcher)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def also_watched_by(watcher: Observer) -> Iterator[Observer]:
    """Add an observer to whoever watches already; yields all of them as one."""
    both = _Both(observer(), watcher)
    with watched_by(both):
        yield both
