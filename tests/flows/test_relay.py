"""What a run tells its observers crosses a pipe unchanged, and is shown in a notebook as on a terminal."""

import inspect
import json
import os

import pytest

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Confirmation, FailureDetail
from flows.observers.notebook import CellOutput, in_notebook
from flows.observers.observer import Observer
from flows.observers.relay import ARGUMENTS, Pipe, Sender, deliver_event
from tests.lineages import make_commits, make_lineage_config

CONFIG = make_lineage_config(4, 3)


def often_fails(offspring, before, rng):
    return None if offspring.uid == "g0002/m01" else before + float(rng.normal())


@pytest.fixture(scope="module")
def events():
    """Everything that a run tells, with a failed member and a large COMMIT."""
    commits = make_commits(CONFIG, often_fails)
    head = commits[-1]
    confirmed = Confirmation(uid=head.elite.uid, mean=1.5, ci95=(1.0, 2.0), episodes=4, steps=9)
    told = [("began", ("run", commits[0])), ("warned", ("so much: ✓",))]
    for commit in commits[1:]:
        told.append(("generation_began", (tuple(member.offspring for member in commit.members),)))
        for member in commit.members:
            detail = FailureDetail(message="off", error="OSError") if member.failure else None
            told += [("progressed", (member.uid, 128)), ("trained", (member.training,))]
            told.append(("evaluated", (member, detail)))
        told.append(("committed", (commit,)))
    return [*told, ("confirmed", (confirmed,)), ("ended", (Ending("budget_spent", head.elite, confirmed),))]


class Recording(Observer):
    def __init__(self):
        self.told = []


for _name in ARGUMENTS:
    setattr(Recording, _name, lambda self, *arguments, _name=_name: self.told.append((_name, arguments)))


def test_every_event_arrives_unchanged(events):
    assert set(ARGUMENTS) == {name for name, _ in inspect.getmembers(Observer, callable) if not name.startswith("_")}
    assert {kind for kind, _ in events} == set(ARGUMENTS)
    reading, writing = os.pipe()
    recording = Recording()
    with os.fdopen(reading, "rb") as lines:
        sender = Sender(Pipe(writing))
        for kind, arguments in events:
            getattr(sender, kind)(*arguments)
            line = json.loads(lines.readline())
            assert deliver_event(line["kind"], line["content"], recording)
    os.close(writing)
    assert recording.told == events
    assert not deliver_event("report", {}, recording)


def test_a_cell_shows_the_running_generation_and_then_every_line(events):
    output = CellOutput(CONFIG)
    shown = {}
    for kind, arguments in events:
        getattr(output.observer, kind)(*arguments)
        shown.setdefault(kind, output.working())
    assert "generation 1" in shown["generation_began"] and "m03" in shown["generation_began"]
    assert "128" in shown["progressed"]
    assert "so much: ✓" in output.ended() and "g0002/m01 failed: nan_loss" in output.ended()
    assert [f"generation   {number}/3" in output.ended() for number in (1, 2, 3)] == [True] * 3
    assert "<table" not in output.ended() and "m03 " not in output.ended()
    assert not in_notebook()
