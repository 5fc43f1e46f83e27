"""Events of a run for its observers, sent as lines of JSON from its process to another one."""

import json
import os
import threading

from pydantic import TypeAdapter

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Confirmation, FailureDetail, Generation, Member, Offspring, Training
from flows.observers.observer import Observer

ARGUMENTS: dict[str, TypeAdapter[tuple[object, ...]]] = {
    "began": TypeAdapter(tuple[str, Generation]),
    "generation_began": TypeAdapter(tuple[tuple[Offspring, ...]]),
    "progressed": TypeAdapter(tuple[str, int]),
    "trained": TypeAdapter(tuple[Training]),
    "evaluated": TypeAdapter(tuple[Member, FailureDetail | None]),
    "committed": TypeAdapter(tuple[Generation]),
    "confirmed": TypeAdapter(tuple[Confirmation]),
    "ended": TypeAdapter(tuple[Ending]),
    "warned": TypeAdapter(tuple[str]),
}
"""The arguments of every method of an observer."""


class Pipe:
    """A file descriptor that takes whole lines, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lock = descriptor, threading.Lock()

    def send(self, kind: str, content: object) -> None:
        """Write one line: a kind, and its content as JSON."""
        self.send_raw(kind, json.dumps(content).encode())

    def send_raw(self, kind: str, content: bytes) -> None:
        """Write one line whose content is JSON already."""
        left = memoryview(b'{"kind":%b,"content":%b}\n' % (json.dumps(kind).encode(), content))
        with self._lock:
            while left:
                left = left[os.write(self._descriptor, left) :]


class Sender(Observer):
    """Observer that sends every event."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def began(self, run_id: str, head: Generation) -> None:
        """Send the start of the run."""
        self._send("began", run_id, head)

    def generation_began(self, offspring: tuple[Offspring, ...]) -> None:
        """Send the members of the next generation."""
        self._send("generation_began", offspring)

    def progressed(self, uid: str, steps: int) -> None:
        """Send the steps of a member; called from another thread."""
        self._send("progressed", uid, steps)

    def trained(self, record: Training) -> None:
        """Send the end of a member's training."""
        self._send("trained", record)

    def evaluated(self, member: Member, detail: FailureDetail | None = None) -> None:
        """Send a finished or failed member."""
        self._send("evaluated", member, detail)

    def committed(self, head: Generation) -> None:
        """Send a COMMIT."""
        self._send("committed", head)

    def confirmed(self, record: Confirmation) -> None:
        """Send a confirmation."""
        self._send("confirmed", record)

    def ended(self, ending: Ending) -> None:
        """Send the outcome."""
        self._send("ended", ending)

    def warned(self, message: str) -> None:
        """Send a warning."""
        self._send("warned", message)

    def _send(self, event: str, *arguments: object) -> None:
        self._pipe.send_raw(event, ARGUMENTS[event].dump_json(arguments))


def deliver_event(kind: str, content: object, observer: Observer) -> bool:
    """Call the observer's method for a line; return False if the line is of another kind."""
    if kind not in ARGUMENTS:
        return False
    getattr(observer, kind)(*ARGUMENTS[kind].validate_json(json.dumps(content)))
    return True
