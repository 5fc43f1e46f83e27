"""Load a member of a run; the delivered agent by default. Imports torch only for a member that exists."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evo_core.config.run_config import RunConfig
from evo_core.records.chain import Member
from evo_core.records.chain import uid as member_uid
from evo_core.records.failures import MemberFailure
from flows.next_steps import evolve_command, store_flag
from flows.outcome import delivery, delivery_by
from flows.settings import BadInput, Failed
from tasks.runs import layout
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore
from tasks.store import MissingError

if TYPE_CHECKING:
    from evo_core.agent.agent import Agent


SCORED_EPISODES = 100
"""Default number of fresh episodes on which a member is scored."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A member with its agent, and a description of why it was chosen."""

    run_id: str
    config: RunConfig
    member: Member
    why: str
    agent: "Agent"

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Context for playing episodes, on one thread; Failed when the environment breaks."""
        from evo_core.numerics.provenance import one_thread

        try:
            with one_thread():
                yield
        except MemberFailure as failure:
            raise Failed(f"{self.member.uid} cannot be played: {failure}") from failure


def load(ref: RunRef, uid: str | None, device: str | None = None, deliver: str | None = None) -> Chosen:
    """Load a member by its name, or the delivered agent of a run: of an unfinished one, see `Delivery`.

    A checkpoint that was released is computed again. `device` is where the agent is, by default where a run of these
    settings would compute. `deliver`: the rule that chooses one of the front instead. BadInput when there is no such
    member or checkpoint.
    """
    run, run_id = ref.open(), ref.run_id
    why = "asked for"
    if deliver is not None:
        require_one(deliver, uid)
        uid, why = delivery_by(ref, deliver)
    elif uid is None:
        delivered = delivery(ref)
        uid, why = delivered.elite.uid, delivered.why
    member = find_member(run, uid, "--member")
    blob = member.training.blob
    if blob is None or member.failure is not None:
        reason = member.failure.reason if member.failure else "not trained"
        others = evolve_command("status", run_id, **store_flag())
        raise BadInput(f"--member {uid}: failed ({reason}) and left no agent; `{others}` lists the others")
    spaces = ref.environment().spaces
    from evo_core.agent.checkpoint import load_agent
    from tasks.runs.recomputation import Recomputer

    recomputer = Recomputer(run, ref.config, spaces, ref.resolve_device())
    if run.missing_blobs([blob]):
        print(f"{uid}: its checkpoint was released; computing it again", file=sys.stderr)
    agent = load_agent(recomputer.weights(uid, blob), spaces, device or ref.resolve_device())
    return Chosen(run_id, ref.config, member, why, agent)


def chosen_by(ref: RunRef, deliver: str, uid: str | None) -> str:
    """Return the member of the front that a rule delivers; BadInput if another one is named too."""
    require_one(deliver, uid)
    return delivery_by(ref, deliver)[0]


def require_one(deliver: str, uid: str | None) -> None:
    """Raise BadInput if a member is both named and chosen by a rule."""
    if uid is not None:
        raise BadInput(f"--deliver {deliver}: it chooses a member, and --member {uid} names one; give one of both")


def find_member(run: RunStore, uid: str, flag: str) -> Member:
    """Return a member of a committed generation by name, such as g0003/m05; raise BadInput that names the flag."""
    try:
        offspring = run.offspring(uid)
        return run.commit(offspring.generation).members[offspring.index]
    except MissingError:
        last = run.last(layout.commit) or 0
        last_uid = member_uid(last, len(run.commit(last).members) - 1)
        raise BadInput(f"{flag} {uid}: expected a name such as g0003/m05, up to {last_uid}") from None
