"""evolve lineage: the family tree of a run, the history of a member, and differences between two members."""

import json as jsonlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from evo_core.lineage.tree import Lineage
from evo_core.records.chain import FailureDetail, Member
from flows.cli.arguments import Json, Run, Store
from flows.cli.lazy_commands import register
from flows.cli.output import emit, make_console, require_directory
from flows.cli.session import read_settings
from flows.next_steps import evolve_command, store_flag
from flows.report.run_data import RunView, view_run_once
from flows.report.sentences import describe_difference, describe_kinship, explain
from flows.runs import open_ref
from flows.settings import BadInput
from tasks.views.phrases import describe_failure, describe_fitness, describe_mutation, describe_origin

Format = Literal["html", "mermaid", "graphml", "json"]

lineage = App(name="lineage", help="The family tree of a run.", help_format="plaintext")


@lineage.default
def show_lineage(
    run_id: Run,
    member: str | None = None,
    /,
    *,
    format: Annotated[Format | None, Parameter(help="Write the whole lineage in this format.")] = None,
    output: Annotated[Path | None, Parameter(help="File to write with --format [standard output].")] = None,
    everyone: Annotated[bool, Parameter(name="--all", negative="", help="Include extinct lines.")] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Show the family tree of a run, or describe the history of one member, such as g0003/m05."""
    if output is not None and (format is None or json):
        formats = ", ".join(get_args(Format))
        raise BadInput(f"--output {output}: needs --format {formats}; --json prints on standard output")
    if member is not None and format is not None:
        raise BadInput(f"--format {format}: writes a whole run's lineage; leave out {member}, or leave out --format")
    require_directory("--output", output)
    view = _view(run_id, store)
    if member is not None:
        return _tell(view, member, json=json)
    if json:
        format = "json"
    if format == "html" and output is None and sys.stdout.isatty():
        file = f"{run_id}-lineage.html"
        command = evolve_command("lineage", run_id, format=format, output=file, **store_flag())
        raise BadInput(f"--format html: a page of megabytes, not for a terminal; write it to a file: {command}")
    if format is None:
        make_console().print(_tree(view, everyone=everyone))
        return 0
    if format == "json" and output is None:
        emit(as_json(view, everyone))
        return 0
    text = {"html": _html, "mermaid": _mermaid, "graphml": _graphml, "json": _json}[format](view, everyone)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
        print(output)
    return 0


@lineage.command(name="diff")
def show_difference(run_id: Run, one: str, other: str, /, *, store: Store = None, json: Json = False) -> int:
    """Show the differences between two members, and how they are related."""
    view = _view(run_id, store)
    try:
        rows = describe_difference(view.lineage, one, other)
        kinship = describe_kinship(view.lineage, one, other)
    except LookupError as error:
        raise BadInput(str(error.args[0])) from None
    if json:
        emit({"kinship": kinship, "differences": {name: [a, b] for name, a, b in rows}})
        return 0
    table = Table("", one, other)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)
    print(kinship)
    return 0


register(lineage, "rebuild", "flows.cli.rebuild:rebuild")


def as_json(view: RunView, everyone: bool) -> dict[str, object]:
    """Describe the members of the living lines, or of all, and who won."""
    shown = _shown(view, everyone)
    return {
        "run_id": view.run_id,
        "winner": view.winner,
        "members": [_member(view.lineage, view.lineage[uid]) for uid in view.lineage.members if uid in shown],
    }


def _member(lineage: Lineage, member: Member) -> dict[str, object]:
    offspring = member.offspring
    return {
        "uid": member.uid,
        "parent": offspring.parent,
        "mutation": offspring.mutation.model_dump(mode="json"),
        "fitness": member.fitness,
        "fitness_sem": member.evaluation.fitness_sem if member.evaluation else None,
        "total_steps": lineage.steps[offspring.generation],
        "lineage_steps": offspring.lineage_steps + member.training.steps,
        "alive": member.uid in lineage.alive,
        "failure": member.failure.reason if member.failure else None,
        "hyperparameters": offspring.genome.hyperparameters,
    }


def _tell(view: RunView, uid: str, *, json: bool) -> int:
    try:
        story = explain(view.lineage, uid, view.failure_details([uid]).get(uid))
    except LookupError as error:
        raise BadInput(str(error.args[0])) from None
    line = view.lineage.line(uid)
    if json:
        emit({"uid": uid, "story": story, "line": [_member(view.lineage, member) for member in line]})
        return 0
    print("\n".join(story))
    table = Table("member", "mutation", "fitness", "steps of the population")
    for member in line:
        if member.offspring.mutation.kind != "none" or member.uid in (line[0].uid, uid):
            steps = f"{view.lineage.steps[member.offspring.generation]:,}"
            table.add_row(member.uid, describe_origin(member.offspring), describe_fitness(member), steps)
    make_console().print(table)
    return 0


def _tree(view: RunView, *, everyone: bool) -> Tree:
    """Draw the living lines (or all); the tree indents only where a line branches."""
    lineage, winning = view.lineage, {member.uid for member in view.lineage.line(view.winner)}
    shown = _shown(view, everyone)
    said = view.failure_details(shown)
    root = Tree(f"[bold]{view.run_id}[/] · winner [bold green]{view.winner}[/]", highlight=False)
    branches: dict[str, Tree] = {}
    lines: dict[int, list[str]] = defaultdict(list)  # a branch's members, one below the other
    for uid, member in lineage.members.items():
        if uid not in shown:
            continue
        parent = member.offspring.parent
        above = branches[parent] if parent else root.add("")
        children = [child for child in lineage.children.get(parent or "", []) if child.uid in shown]
        branches[uid] = above if parent and len(children) == 1 else above.add("") if parent else above
        if not parent or len(children) > 1 or member.offspring.mutation.kind != "none" or uid == view.winner:
            lines[id(branches[uid])].append(_label(view, member, winning, said.get(uid)))
    for branch in _walk(root):
        branch.label = "\n".join(lines[id(branch)]) or branch.label
    return root


def _walk(tree: Tree) -> Iterator[Tree]:
    for branch in tree.children:
        yield branch
        yield from _walk(branch)


def _label(view: RunView, member: Member, winning: set[str], detail: FailureDetail | None) -> str:
    style = "green" if member.uid in winning else "default" if member.uid in view.lineage.alive else "bright_black"
    mutation = member.offspring.mutation
    parts = [member.uid, *([describe_mutation(mutation)] if mutation.kind != "none" else [])]
    failed = describe_failure(member.failure, detail) if member.failure else "failed: unknown"
    parts.append(describe_fitness(member) or escape(failed))
    return f"[{style}]{'  '.join(parts)}[/]"


def _shown(view: RunView, everyone: bool) -> set[str]:
    if everyone:
        return set(view.lineage.members)
    return view.lineage.alive | {member.uid for member in view.lineage.line(view.winner)}


def _mermaid(view: RunView, everyone: bool) -> str:
    shown, winning = _shown(view, everyone), [member.uid for member in view.lineage.line(view.winner)]
    lines = ["flowchart LR"]
    for uid in (uid for uid in view.lineage.members if uid in shown):
        member = view.lineage[uid]
        lines.append(f'  {_node(uid)}["{uid}<br>{describe_fitness(member) or "failed"}"]')
        if member.offspring.parent:
            mutation = member.offspring.mutation
            label = f'|"{describe_mutation(mutation)}"|' if mutation.kind != "none" else ""
            lines.append(f"  {_node(member.offspring.parent)} -->{label} {_node(uid)}")
    lines.append("  classDef won fill:#F0E442,stroke:#E69F00")
    lines.append(f"  class {','.join(_node(uid) for uid in winning)} won")
    return "\n".join(lines) + "\n"


def _node(uid: str) -> str:
    return uid.replace("/", "_")


def _graphml(view: RunView, everyone: bool) -> str:
    import networkx as nx

    graph = nx.DiGraph(run_id=view.run_id, winner=view.winner)
    shown = _shown(view, everyone)
    for member in (view.lineage[uid] for uid in view.lineage.members if uid in shown):
        facts = _member(view.lineage, member)
        plain = {k: v for k, v in facts.items() if v is not None and not isinstance(v, dict) and k != "uid"}
        graph.add_node(member.uid, **plain, **member.offspring.genome.hyperparameters)
        if member.offspring.parent:
            mutation = member.offspring.mutation
            graph.add_edge(member.offspring.parent, member.uid, kind=mutation.kind, what=mutation.what or "")
    return "\n".join(nx.generate_graphml(graph)) + "\n"


def _json(view: RunView, everyone: bool) -> str:
    return jsonlib.dumps(as_json(view, everyone), indent=1) + "\n"


def _html(view: RunView, everyone: bool) -> str:
    from flows.report.evolution import family_tree
    from flows.report.html_page import render_page

    return render_page(view, [family_tree(view)])


def _view(run_id: str, store: str | None) -> RunView:
    read_settings({"store": store}).export()
    return view_run_once(open_ref(run_id))
