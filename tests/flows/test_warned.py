"""Warnings of members appear once on the terminal, with the member's name and without details of the cluster."""

import logging
import threading
import warnings

import pytest
from distributed import Client, LocalCluster

from flows.observers import warning_relay as warned
from flows.observers.observer import Observer, watched_by
from tasks.member_warnings import forward_member_warnings, warnings_topic
from tasks.runs.ref import RunRef
from tests.conftest import make_config

RUN = RunRef("memory://warned", "warned", make_config())


def warn_a_lot(uid):
    """Warn and print as environments do, while the worker records warnings."""
    with forward_member_warnings(RUN, uid):
        warnings.simplefilter("default")
        for step in range(3):
            logging.getLogger("evo_core.envs.vector_env").warning("Odd-v0: step %d: leaf 'x' leaves its bounds", step)
            logging.getLogger("mysim").warning("torque saturated")
            warnings.warn("joint limit near, sent with password=hunter2://u:pw@host", stacklevel=2)
            logging.getLogger("distributed.worker").warning("Compute Failed Key: train-g0001-0badc0de")
            logging.getLogger("evo_core.training").warning("%s failed", uid, extra={"reported_elsewhere": True})


@pytest.fixture(scope="module")
def sent():
    """Return the messages of a worker on which two members run, one after the other."""
    events, done = [], threading.Event()

    def hear(event):
        events.append(event[1])
        if event[1] == "done":
            done.set()

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.subscribe_topic(warnings_topic("warned"), hear)
        for uid in ("g0001/m00", "g0001/m01"):
            client.submit(warn_a_lot, uid).result(timeout=120)
        client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.log_event(warnings_topic("warned"), "done"))
        assert done.wait(120)
    return [event for event in events if event != "done"]


def test_a_worker_sends_each_warning_once_with_the_members_name_and_without_credentials(sent):
    assert {event["uid"] for event in sent} == {"g0001/m00"}
    texts = sorted(event["text"] for event in sent)
    assert len(texts) == 3
    assert texts[0] == "Odd-v0: step 0: leaf 'x' leaves its bounds"
    assert texts[1].startswith("UserWarning: joint limit near, sent with password=hunter2://u:***@host (")
    assert texts[2] == "mysim: torque saturated"


class _Ears(Observer):
    def __init__(self):
        self.forward_member_warnings = []

    def warned(self, message):
        self.forward_member_warnings.append(message)


def test_warnings_of_several_workers_are_shown_once_and_limited(sent, monkeypatch):
    ears, topics = _Ears(), {}
    monkeypatch.setattr(warned, "subscribe", topics.__setitem__)
    with watched_by(ears):
        warned.subscribe_to_warnings(RUN)
    tell = topics[warnings_topic("warned")]
    for uid in ("g0001/m00", "g0002/m05"):
        for event in sent:
            tell({**event, "uid": uid})
    tell({"session": "another", "uid": "g0001/m00", "text": "of another run"})
    assert len(ears.forward_member_warnings) == 3
    assert all(message.startswith("g0001/m00: ") for message in ears.forward_member_warnings)
    assert "g0001/m00: mysim: torque saturated" in ears.forward_member_warnings
    for number in range(100):
        tell({"session": RUN.session, "uid": "g0003/m00", "text": "x" * number + "!"})
    assert len(ears.forward_member_warnings) == warned.MOST + 1
    assert ears.forward_member_warnings[-1].endswith("further warnings are in the logs of the tasks")
