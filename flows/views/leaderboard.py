"""Tables and Markdown of a run's page: the leaderboard of a generation, and the final summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.run_end import Ending
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import FailureDetail, Generation, Member
from flows.next_steps import evolve_command
from flows.observers.terminal import describe_delivery
from flows.report.sentences import describe_gain, explain
from tasks.views.phrases import (
    describe_detail,
    describe_failure,
    describe_fitness,
    describe_network,
    describe_number,
    describe_origin,
    describe_score,
    fitness_name,
    objective_cells,
    written_genes,
)

SHOWN_MEMBERS = 100
"""Rows of a leaderboard; the best of a larger population."""

SHOWN_STEPS = 50
"""Rows of a line of descent; the last of a longer one."""


@dataclass(frozen=True, slots=True)
class Location:
    """Location of a part of a run: its name, its address without credentials, and its web page."""

    what: str
    address: str
    page: str | None = None


def leaderboard(commit: Generation, details: Mapping[str, FailureDetail] | None = None) -> list[dict[str, str]]:
    """Tabulate the members of a generation, best selection score first, failed members last. `details` are failure
    details by uid.
    """
    draw = commit.draw
    assert draw is not None
    order = sorted(range(len(commit.members)), key=lambda i: (-_known(draw.scores[i]), i))
    said = details or {}
    return [_row(rank, commit, index, said) for rank, index in enumerate(order[:SHOWN_MEMBERS], start=1)]


def describe_leaderboard(commit: Generation, config: RunConfig) -> str:
    """Summarize a generation in one line of Markdown."""
    elite, best = commit.elite, commit.fittest(config.evaluation.objective.sign)
    assert elite is not None and best is not None
    failed = sum(member.failure is not None for member in commit.members)
    parts = [
        f"**Generation {commit.generation}** of at most {config.max_generations}",
        f"elite {_code(elite.uid)}: {describe_score(elite.fitness, elite.fitness_sem)}",
        f"best so far {_code(best.uid)}: {describe_score(best.fitness, best.fitness_sem)}",
        f"{commit.train_steps:,} training steps",
        *([] if config.evaluation.objective.is_mean_return else [fitness_name(config)]),
        *([f"{failed} of {len(commit.members)} failed"] if failed else []),
        *([f"the best {SHOWN_MEMBERS} of {len(commit.members)}"] if len(commit.members) > SHOWN_MEMBERS else []),
    ]
    return " · ".join(parts)


def describe_progress(steps: int, config: RunConfig, generation: int) -> str:
    """Return the text of a progress bar."""
    return (
        f"{steps:,} of {config.planned_steps:,} training steps; generation {generation} "
        f"of at most {config.max_generations}"
    )


def summary(
    run_id: str, ending: Ending, config: RunConfig, lineage: Lineage, places: Sequence[Location], store: str
) -> str:
    """Return the summary of a run as Markdown: the delivered agent, its line of descent, and next steps.

    `store`: the value of `--store`, without credentials.
    """
    uid = ending.elite.uid
    commands = [evolve_command(command, run_id, store=store) for command in ("report", "watch", "export")]
    return "\n".join(
        [
            f"# {run_id}: {ending.status.replace('_', ' ')}",
            "",
            f"Delivered: {describe_delivery(ending, config)}. The checkpoint has the sha256 "
            f"{_code(ending.elite.blob.sha256)}.",
            "",
            " ".join(explain(lineage, uid)),
            "",
            *_descent(lineage, uid),
            "",
            *(f"- {place.what}: {_link(place)}" for place in places),
            "",
            "```bash",
            *commands,
            "```",
        ]
    )


def _row(rank: int, commit: Generation, index: int, details: Mapping[str, FailureDetail]) -> dict[str, str]:
    member = commit.members[index]
    offspring = member.offspring
    return {
        "rank": str(rank) if member.failure is None else "–",
        "member": member.uid,
        "fitness": describe_fitness(member) or "–",
        **_mean_return(commit, member),
        **objective_cells(commit.members, member),
        "status": _status(commit, index, details.get(member.uid)),
        "parent": offspring.parent or "founder",
        "mutation": describe_origin(offspring),
        "steps": f"{offspring.lineage_steps + member.training.steps:,}",
        **written_genes(offspring.genome),
        "network": describe_network(offspring.genome),
    }


def _mean_return(commit: Generation, member: Member) -> dict[str, str]:
    """Return a column of mean returns, if they are other numbers than the fitness."""
    if all(one.evaluation is None or one.evaluation.other_mean_return is None for one in commit.members):
        return {}
    mean = member.evaluation.mean_return if member.evaluation else None
    return {"mean return": "–" if mean is None else describe_number(mean)}


def _status(commit: Generation, index: int, detail: FailureDetail | None) -> str:
    member, draw = commit.members[index], commit.draw
    assert draw is not None
    if member.failure is not None:
        said = f": {describe_detail(detail)}" if detail is not None else ""
        return f"{describe_failure(member.failure)}{said}"
    children = draw.parents.count(index)
    offspring = f"parent of {children}" if children else "no offspring"
    return f"elite, {offspring}" if index == draw.elite else offspring


def _descent(lineage: Lineage, uid: str) -> list[str]:
    """Tabulate the line from founder to delivered member, without unmutated members."""
    line = lineage.line(uid)
    steps = [m for m in line[1:-1] if m.offspring.mutation.kind != "none"]
    left_out = len(steps) - SHOWN_STEPS
    rows = [line[0], *steps[max(left_out, 0) :], *line[1:][-1:]]
    return [
        "| line of descent | mutation | fitness | against unmutated siblings | against the parent, before training |",
        "|---|---|---|---|---|",
        *(_step(lineage, member) for member in rows),
        *(["", f"The first {left_out} mutations after the founder are left out."] if left_out > 0 else []),
    ]


def _step(lineage: Lineage, member: Member) -> str:
    effect, gain = lineage.effect(member), lineage.gain(member)
    mutation = describe_origin(member.offspring)
    cells = (
        member.uid,
        mutation if member.offspring.parent else f"founder, {mutation}",
        describe_fitness(member) or "–",
        describe_gain(effect) if effect else "–",
        describe_gain(gain) if gain else "–",
    )
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _known(score: float | None) -> float:
    return float("-inf") if score is None else score


def _link(place: Location) -> str:
    """Format an address, as a link if it has a web page: Prefect's UI opens only http(s)."""
    return f"[{place.address}](<{place.page}>)" if place.page else _code(place.address)


def _code(text: str) -> str:
    return f"`{text}`"
