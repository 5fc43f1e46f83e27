"""The family tree of a run, and the fitness gained at every step. Pure: COMMITs in, numbers out."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from evo_core.records.chain import Generation, Member


@dataclass(frozen=True, slots=True)
class Gain:
    """Difference in fitness between a member and its parent, with its standard error (None for single episodes).

    `better`: how much better it is; the difference itself, or less of it where less fitness is better.
    """

    value: float
    se: float | None
    better: float


class Lineage:
    """The family tree of a run, as far as its COMMITs go.

    `members` by name, in order of birth; `steps`: training steps of the whole population up to the end of each
    generation. `sign`: -1 where less fitness is better. LookupError where a name is unknown.
    """

    def __init__(self, commits: Iterable[Generation], sign: int = 1) -> None:
        self.sign = sign
        self.commits = [commit for commit in commits if commit.members]
        self.members = {member.uid: member for commit in self.commits for member in commit.members}
        self.steps = {commit.generation: commit.train_steps for commit in self.commits}

    def __getitem__(self, uid: str) -> Member:
        """Return a member by its name."""
        if uid not in self.members:
            known = f"{next(iter(self.members))} to {next(reversed(self.members))}" if self.members else "none yet"
            raise LookupError(f"member {uid!r}: expected the name of a finished member, such as g0003/m05; got {known}")
        return self.members[uid]

    def parent(self, member: Member) -> Member | None:
        """Return a member's parent, or None for a founder."""
        return self.members[member.offspring.parent] if member.offspring.parent else None

    def line(self, uid: str) -> tuple[Member, ...]:
        """Return a member's line of descent: its founder first, itself last."""
        line = [self[uid]]
        while (parent := self.parent(line[-1])) is not None:
            line.append(parent)
        return tuple(reversed(line))

    def gain(self, member: Member) -> Gain | None:
        """Compare a member's fitness with its parent's; None for founders and where either failed.

        A generation of training lies between the two, so this is not what a mutation was worth: see `effect`.
        """
        parent = self.parent(member)
        if parent is None or member.evaluation is None or parent.evaluation is None:
            return None
        errors = [member.evaluation.fitness_sem, parent.evaluation.fitness_sem]
        se = None if None in errors else math.hypot(*(error for error in errors if error is not None))
        return self._gain(member.evaluation.fitness - parent.evaluation.fitness, se)

    def _gain(self, value: float, se: float | None) -> Gain:
        return Gain(value, se, self.sign * value)

    def effect(self, member: Member) -> Gain | None:
        """Compare a mutated member's fitness with the mean of its unmutated siblings'.

        They share parent, weights, training steps and evaluation seeds: what is left is the mutation, and noise. None
        for a member without a mutation, one that failed, or one without such a sibling.
        """
        offspring = member.offspring
        if offspring.parent is None or offspring.mutation.kind == "none" or member.evaluation is None:
            return None
        siblings = self.trained_children[offspring.parent]
        control = [s.evaluation for s in siblings if s.evaluation and s.offspring.mutation.kind == "none"]
        if not control:
            return None
        mean = sum(one.fitness for one in control) / len(control)
        errors = [one.fitness_sem for one in control if one.fitness_sem is not None]
        own = member.evaluation.fitness_sem
        known = own is not None and len(errors) == len(control)
        se = math.hypot(own or 0.0, math.hypot(*errors) / len(control)) if known else None
        return self._gain(member.evaluation.fitness - mean, se)

    @cached_property
    def children(self) -> dict[str, list[Member]]:
        """Members by the name of their parent."""
        children: dict[str, list[Member]] = defaultdict(list)
        for member in self.members.values():
            if member.offspring.parent:
                children[member.offspring.parent].append(member)
        return dict(children)

    @cached_property
    def trained_children(self) -> dict[str, list[Member]]:
        """Members by the name of their parent, without archived ones, which compare with no sibling."""
        trained = {uid: [m for m in family if not m.offspring.archived] for uid, family in self.children.items()}
        return {uid: family for uid, family in trained.items() if family}

    @cached_property
    def founders(self) -> dict[str, str]:
        """The name of every member's founder."""
        founders: dict[str, str] = {}
        for uid, member in self.members.items():  # parents were born before
            founders[uid] = founders[member.offspring.parent] if member.offspring.parent else uid
        return founders

    @cached_property
    def alive(self) -> set[str]:
        """Names of the members with descendants among the offspring of the last COMMIT; all others are extinct."""
        alive: set[str] = set()
        if self.commits:
            for child in self.commits[-1].offspring:
                uid = child.parent
                while uid and uid not in alive:
                    alive.add(uid)
                    uid = self.members[uid].offspring.parent
        return alive

    def common_ancestor(self, one: str, other: str) -> Member | None:
        """Return the last common ancestor of two members, or None if they descend from different founders."""
        shared = None
        for a, b in zip(self.line(one), self.line(other), strict=False):
            if a.uid != b.uid:
                break
            shared = a
        return shared


def mutated(members: Sequence[Member]) -> list[Member]:
    """Return the members that have a mutation."""
    return [member for member in members if member.offspring.mutation.kind != "none"]
