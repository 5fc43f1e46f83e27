"""evolve export: write a deterministic policy to one self-contained file. Imports torch once a member is found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from flows.cli.arguments import Deliver, Json, MemberName, Run, Store
from flows.cli.extras import require_extra
from flows.cli.member_choice import choose
from flows.cli.output import emit, require_directory
from flows.member_lookup import Chosen
from flows.settings import Failed
from tasks.views.phrases import describe_score

if TYPE_CHECKING:
    from evo_core.export.policy import Card, Policy

Format = Literal["onnx", "torchscript", "safetensors", "config"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors", "config": ""}
CHECKED_ENVS, CHECKED_STEPS = 1, 1000
"""Number of environments and steps of the comparison of an exported file with its agent."""


def export(
    run_id: Run,
    /,
    *,
    member: MemberName = None,
    deliver: Deliver = None,
    format: Annotated[
        Format,
        Parameter(
            help="onnx for any runtime, torchscript for libtorch, safetensors to load it again here; config: no policy "
            "but a directory of configurations, settings for other libraries, and the schedule."
        ),
    ] = "onnx",
    output: Annotated[
        Path | None, Parameter(help="File to write, of config the directory [RUN-MEMBER with the format's suffix].")
    ] = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Export an agent's deterministic policy, from raw observations to actions, to one file; or what was found."""
    if format == "config":
        from flows.cli.export_config import export_config

        return export_config(run_id, member, output, store, json=json, deliver=deliver)
    if format == "onnx":
        require_extra("export", "onnx", "onnxscript", "onnxruntime")
    require_directory("--output", output)
    chosen = choose(run_id, member, store, device="cpu", deliver=deliver)
    path = output or Path(f"{run_id}-{chosen.member.uid.replace('/', '-')}{SUFFIXES[format]}")
    return _export_policy(chosen, format, path, json=json)


def _export_policy(chosen: Chosen, format: Format, path: Path, *, json: bool) -> int:
    from evo_core.evaluation.episodes import report_seeds
    from evo_core.export.agreement import TOLERANCE, gives_masks, largest_difference, play_steps
    from evo_core.export.policy import Policy
    from flows.cli.export_formats import WRITERS

    with chosen.playing():
        seeds = report_seeds(chosen.config, CHECKED_ENVS)
        steps = play_steps(chosen.agent, chosen.config, seeds, CHECKED_STEPS)
        policy = Policy(chosen.agent, masks=gives_masks(steps))
        card = _card(chosen, policy)
        content, run = WRITERS[format](chosen.agent, policy, card)
        difference = largest_difference(policy, run, steps)
    if not difference <= TOLERANCE:
        raise Failed(f"the file would differ from its agent by {difference:.3g}, more than {TOLERANCE:g}: not written")
    path.write_bytes(content)
    if json:
        found = {"file": str(path), "format": format, "bytes": len(content), "largest_difference": difference}
        emit({**found, "why": chosen.why, "card": card.model_dump(mode="json")})
    else:
        _print(path, len(content), chosen, card, difference)
    if not chosen.config.evaluation.deterministic:
        drawn = "this run evaluates drawn actions (evaluation.deterministic: false), the file gives the most likely"
        Console(stderr=True).print(f"warning: {drawn}", style="yellow", soft_wrap=True)
    return 0


def _card(chosen: Chosen, policy: "Policy") -> "Card":
    from evo_core.export.policy import Card

    evaluation, objective = chosen.member.evaluation, chosen.config.evaluation.objective
    return Card(
        run_id=chosen.run_id,
        member=chosen.member.uid,
        env=chosen.config.env.model_dump(mode="json", include={"id", "kwargs", "wrappers"}),
        max_steps=chosen.config.evaluation.max_steps,
        fitness=evaluation.fitness if evaluation else None,
        fitness_sem=evaluation.fitness_sem if evaluation else None,
        fitness_name=objective.title,
        direction=objective.direction,
        mean_return=evaluation.mean_return if evaluation else None,
        objectives=evaluation.objectives if evaluation else (),
        inputs=policy.inputs,
        outputs=policy.outputs,
    )


def _print(path: Path, size: int, chosen: Chosen, card: "Card", difference: float) -> None:
    console = Console()
    name = "fitness" if chosen.config.evaluation.objective.is_mean_return else card.fitness_name
    fitness = f", {name} {describe_score(card.fitness, card.fitness_sem)}" if card.fitness is not None else ""
    console.print(
        f"{path}: {card.member} of {card.run_id} ({chosen.why}){fitness}, {size:,} bytes",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("", "name", "type", "shape")
    for direction, ports in (("in", card.inputs), ("out", card.outputs)):
        for port in ports:
            table.add_row(direction, port.name, port.dtype, " × ".join(("batch", *map(str, port.shape))))
    console.print(table)
    steps = CHECKED_ENVS * CHECKED_STEPS
    console.print(f"compared with the agent over {steps:,} steps: largest difference {difference:.2g}", highlight=False)
