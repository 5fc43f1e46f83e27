"""Relay warnings of members to the observers, each once, with the first member that raised it."""

from typing import Any

from flows.observers.observer import observer
from flows.worker_topics import subscribe
from tasks.member_warnings import warnings_topic, without_numbers
from tasks.runs.ref import RunRef

MOST = 20
"""Maximum number of different warnings per run; the logs of tasks have all of them."""

_SAID: dict[str, set[str]] = {}
"""Warnings already reported by this process, by run."""


def subscribe_to_warnings(ref: RunRef) -> None:
    """Subscribe to warnings of this attempt's members, in a flow run whose tasks run on the engine."""
    watcher, said = observer(), _SAID.setdefault(ref.run_id, set())

    def warned(event: dict[str, Any]) -> None:
        if event["session"] != ref.session or without_numbers(event["text"]) in said or len(said) > MOST:
            return
        said.add(without_numbers(event["text"]))
        more = "; further warnings are in the logs of the tasks" if len(said) > MOST else ""
        watcher.warned(f"{event['uid']}: {event['text']}{more}")

    subscribe(warnings_topic(ref.run_id), warned)
