"""Records about failed members outside the chain: exception details, and attempts in which too few members finished."""

from collections.abc import Iterable
from contextlib import suppress

from evo_core.records.chain import FailureDetail, Member
from tasks.runs import layout
from tasks.runs.run_records import FailedAttempt, FailedMember
from tasks.runs.run_store import RunStore
from tasks.store import ConflictError, CorruptError, MissingError


def details(run: RunStore, members: Iterable[Member]) -> dict[str, FailureDetail]:
    """Read the failure details of members, by uid, as far as they are known."""
    found = {}
    for member in members:
        if member.failure is not None:
            name = layout.member(member.offspring.generation, member.offspring.index)
            with suppress(MissingError, CorruptError):
                found[member.uid] = run.sealed(name, Member, expected=False).detail
    return {uid: detail for uid, detail in found.items() if detail is not None}


def failed_members(run: RunStore, members: Iterable[Member]) -> dict[str, FailedMember]:
    """Read how members failed, by uid of those that did."""
    failed = [member for member in members if member.failure is not None]
    said = details(run, failed)
    return {m.uid: FailedMember(failure=m.failure, detail=said.get(m.uid)) for m in failed if m.failure}


def put_failed_attempt(run: RunStore, generation: int, attempt: FailedAttempt) -> None:
    """Record that too few members of a generation finished, after earlier attempts at it."""
    name = layout.failed_attempts(generation)
    last = run.last(name)
    with suppress(ConflictError):  # another process was first
        run.put(name(0 if last is None else last + 1), attempt)


def failed_attempt(run: RunStore, generation: int) -> FailedAttempt | None:
    """Read the last attempt at a generation in which too few members finished; None if there was none."""
    name = layout.failed_attempts(generation)
    last = run.last(name)
    with suppress(CorruptError):
        return None if last is None else run.find(name(last), FailedAttempt)
    return None
