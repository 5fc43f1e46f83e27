"""A view in a process of its own: what it returns, raises and leaves behind."""

import logging
import multiprocessing
import os
import signal
import warnings

import psutil
import pytest

from flows.observers.observer import Observer, watched_by
from flows.views.sync import ViewSync
from flows.views.view_process import ViewProcess
from tasks.views.view import View
from tests.flows.conftest import alive
from tests.lineages import make_commits, make_lineage_config
from tests.services import wait_for


class Unportable(RuntimeError):
    """An error that cannot be made again from its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Probing(View):
    """Returns its process's id, or raises what it is asked for."""

    def catch_up(self, head):
        if head == "cause":
            raise RuntimeError("outer") from LookupError("the cause")
        if head == "unportable":
            raise Unportable(1, 2)
        if head == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if head == "warns":
            logging.getLogger("tasks.store").warning("trying again s3://user:secretpw@host/bucket")
            warnings.warn("beware", stacklevel=1)
        return os.getpid()

    def finish(self, ending):
        raise LookupError(f"finished with {ending}")


class Warned(Observer):
    def __init__(self):
        self.said = []

    def warned(self, message):
        self.said.append(message)


class Refusing(Probing):
    def __init__(self):
        raise LookupError("no such database")


def test_a_view_works_in_another_process_and_raises_here():
    view = ViewProcess(Probing, forked=False)
    process = psutil.Process(view.catch_up("any"))
    assert process.pid != os.getpid() and process.nice() > psutil.Process().nice()
    with pytest.raises(LookupError, match=r"^the cause$"):
        view.catch_up("cause")
    with pytest.raises(RuntimeError, match=r"^Unportable: 1 and 2$"):
        view.catch_up("unportable")
    with pytest.raises(LookupError, match="finished with 3"):
        view.finish(3)
    with watched_by(warned := Warned()):
        view.catch_up("warns")
    assert "secretpw" not in str(warned.said) and len(warned.said) == 2
    process.send_signal(signal.SIGINT)  # as a terminal does
    assert view.catch_up("any") == process.pid
    with pytest.raises(RuntimeError, match=r"the process that records it has ended \(exit code -9\)"):
        view.catch_up("killed")
    again = psutil.Process(view.catch_up("any"))
    view.close()
    assert not process.is_running() and not again.is_running()


def test_a_view_that_does_not_open_raises_and_leaves_no_process():
    with pytest.raises(LookupError, match="no such database"):
        ViewProcess(Refusing, forked=False)
    wait_for(lambda: multiprocessing.active_children() == [])


def test_a_view_whose_process_was_killed_is_opened_again():
    found = []
    sync = ViewSync(
        "the study",
        lambda: ViewProcess(Probing, forked=False),
        lambda name, view, head: found.append(view.catch_up(head)),
    )
    head = make_commits(make_lineage_config(2, 1), lambda child, before, rng: 0.0)[-1]
    sync.record(head)
    wait_for(lambda: len(found) == 1)
    os.kill(found[0], signal.SIGKILL)
    wait_for(lambda: not alive(found[0]))
    sync.record(head)
    wait_for(lambda: len(found) == 2)
    sync.end()
    sync.wait()
    assert sync.behind is None and found[1] != found[0]
