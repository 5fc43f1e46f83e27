"""Flow runs on the same run exclude each other."""

import threading
import time
from dataclasses import dataclass, field

import pytest
from prefect import flow, tags
from prefect.client.orchestration import get_client

from deployments import run_lock as sharing
from deployments.run_lock import lock_run


@dataclass
class Inside:
    """Counts the flow runs inside the lock of a run."""

    entered: list[int] = field(default_factory=list)
    now: int = 0
    most: int = 0

    def visit(self, number: int, run_id: str, seconds: float) -> None:
        """Take the lock as a new flow run, and keep it for some seconds."""

        @flow
        def work() -> None:
            with lock_run(run_id):
                self.now += 1
                self.most = max(self.most, self.now)
                self.entered.append(number)
                time.sleep(seconds)
                self.now -= 1

        work()


def test_three_flow_runs_are_never_inside_at_once(prefect_url):
    inside = Inside()
    threads = [threading.Thread(target=inside.visit, args=(number, "shared", 1)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inside.entered) == [0, 1, 2]
    assert inside.most == 1


@pytest.fixture
def left_over(prefect_url):
    """Create a stale lock of a run."""
    name = "evolve-run-left-over"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        client.increment_concurrency_slots([name], slots=1, mode="concurrency").raise_for_status()
        yield lambda: client.read_global_concurrency_limit_by_name(name).active_slots
        client.delete_global_concurrency_limit_by_name(name)


@pytest.mark.slow
def test_a_stale_lock_is_reclaimed_by_one_waiting_flow_run(left_over, monkeypatch):
    monkeypatch.setattr(sharing, "WAIT_S", 6)
    look, both, met = sharing._running, threading.Barrier(2), threading.local()

    def look_together(client, tag):
        found = look(client, tag)
        if tag == "evolve-run-left-over" and not hasattr(met, "other"):
            met.other = both.wait(120)  # both have seen that nobody works before either does anything about it
        return found

    monkeypatch.setattr(sharing, "_running", look_together)
    inside = Inside()

    def tried_again(number: int) -> None:
        with tags("evolve-run-left-over"):  # it was killed at work
            inside.visit(number, "left-over", 8)

    assert left_over() == 1
    threads = [threading.Thread(target=tried_again, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert sorted(inside.entered) == [0, 1]
    assert inside.most == 1
    assert left_over() == 0
