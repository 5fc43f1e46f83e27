"""What a run tells whoever watches it. A watcher implements what it needs; everything does nothing by default."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from evo_core.records import Confirmation, Generation, Member, Offspring, Training


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

    def evaluated(self, member: Member) -> None:
        """Hear that a member was evaluated, or failed."""

    def committed(self, head: Generation) -> None:
        """Hear that a generation exists."""

    def confirmed(self, record: Confirmation) -> None:
        """Hear the score of a checkpoint on fresh seeds."""

    def warned(self, message: str) -> None:
        """Hear what the user should know."""


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
