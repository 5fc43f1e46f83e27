"""A member's history in sentences, and the differences between two members."""

from evo_core.lineage.tree import Gain, Lineage, mutated
from evo_core.records.chain import FailureDetail, Member
from tasks.views.phrases import describe_failure, describe_mutation, describe_score
from tasks.views.trial_values import parameters

LARGEST = 3
"""Maximum number of steps of a line that are described."""


def explain(lineage: Lineage, uid: str, detail: FailureDetail | None = None) -> list[str]:
    """Describe a member: its origin, the effect of the mutations along its line, and its offspring.

    `detail` is its failure detail, if known.
    """
    member, line = lineage[uid], lineage.line(uid)
    steps = mutated(line[1:])
    said = [_origin(line, len(steps))]
    effects = [(effect, step) for step in steps if (effect := lineage.effect(step)) is not None]
    largest = sorted(effects, key=lambda pair: -pair[0].better)[:LARGEST]
    for number, (effect, step) in enumerate(pair for pair in largest if pair[0].better > 0):
        said.append(f"{'Then' if number else 'Best against unmutated siblings'}: {_step(lineage, step, effect)}.")
    if effects and (worst := min(effects, key=lambda pair: pair[0].better))[0].better < 0:
        said.append(f"Worst against unmutated siblings: {_step(lineage, worst[1], worst[0])}.")
    if steps and not effects:
        said.append("None of these mutations has an unmutated sibling to compare with.")
    if member.offspring.mutation.kind != "none":
        said.append(f"Its own mutation: {describe_mutation(member.offspring.mutation)}.")
    said.append(_result(lineage, member, detail))
    said.append(_fate(lineage, uid))
    return said


def describe_gain(gain: Gain) -> str:
    """Write a gain with its sign and standard error."""
    sign = "+" if gain.value >= 0 else ""
    return f"{sign}{describe_score(gain.value, gain.se)}"


def describe_difference(lineage: Lineage, one: str, other: str) -> list[tuple[str, str, str]]:
    """List what differs between two members: name, value of the one, value of the other."""
    a, b = lineage[one], lineage[other]
    rows = [("fitness", _score(a), _score(b)), ("training steps", _steps(a), _steps(b))]
    before, after = (parameters(member.offspring.genome) for member in (a, b))
    for name in sorted({*before, *after}):
        first, second = (
            f"{p[name]:.4g}" if isinstance(p.get(name), float) else str(p.get(name, "–")) for p in (before, after)
        )
        if first != second:
            rows.append((name, first, second))
    return rows


def describe_kinship(lineage: Lineage, one: str, other: str) -> str:
    """Describe how two members are related."""
    ancestor = lineage.common_ancestor(one, other)
    if ancestor is None:
        return (
            f"{one} and {other} descend from different founders, {lineage.founders[one]} and {lineage.founders[other]}."
        )
    if ancestor.uid in (one, other):
        old, young = (one, other) if ancestor.uid == one else (other, one)
        return f"{old} is an ancestor of {young}." if old != young else f"{one} is the same member."
    return f"The last ancestor that {one} and {other} share is {ancestor.uid}."


def _origin(line: tuple[Member, ...], mutations: int) -> str:
    uid, founder = line[-1].uid, line[0].uid
    if len(line) == 1:
        return f"{uid} is a founder."
    born = f"{len(line) - 1} generation{'s' if len(line) > 2 else ''}"
    return f"{uid} descends from founder {founder} through {born} and {mutations} mutation{'s' * (mutations != 1)}."


def _step(lineage: Lineage, member: Member, gain: Gain) -> str:
    what = describe_mutation(member.offspring.mutation)
    steps = lineage.steps[member.offspring.generation]
    return f"{what} at {steps:,} training steps of the population ({member.uid}), {describe_gain(gain)}"


def _result(lineage: Lineage, member: Member, detail: FailureDetail | None) -> str:
    if member.failure is not None:
        return f"It {describe_failure(member.failure, detail)}."
    gain = lineage.gain(member)
    parent = member.offspring.parent
    against = f", {describe_gain(gain)} against its parent {parent}, a generation of training earlier" if gain else ""
    return f"It was trained for {_steps(member)} steps along its line and reached {_score(member)}{against}."


def _fate(lineage: Lineage, uid: str) -> str:
    children = lineage.children.get(uid, [])
    if lineage[uid].offspring.generation == lineage.commits[-1].generation:
        return "It is in the last generation so far."
    if not children:
        return "It had no offspring."
    return f"It had {len(children)} offspring; its line {'lives' if uid in lineage.alive else 'is extinct'}."


def _score(member: Member) -> str:
    return describe_score(member.evaluation.fitness, member.evaluation.fitness_sem) if member.evaluation else "failed"


def _steps(member: Member) -> str:
    return f"{member.offspring.lineage_steps + member.training.steps:,}"
