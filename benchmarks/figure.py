"""Draw what happened in a run: every member's fitness, who descends from whom, and the genes of the winning line.

evolve run --config deployments/configs/lunarlander.yaml --run-id lunarlander --seed 4
python benchmarks/figure.py runs/lunarlander docs/lunarlander.png
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from evo_core.records import Generation, Member
from tasks.run_store import RunStore
from tasks.store import open_store

COLOURS = {
    "none": "#9aa0a6",
    "architecture": "#1a73e8",
    "parameters": "#e8710a",
    "activation": "#9334e6",
    "rl_hp": "#1e8e3e",
}


def main() -> None:
    directory, target = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    run = RunStore(open_store(directory.parent.as_uri()), directory.name)
    config, commits = run.config(), list(run.commits())
    members = {member.uid: member for commit in commits for member in commit.members}
    steps = {commit.generation: commit.train_steps for commit in commits}
    line = ancestry(members, commits[-1])
    genes = list(config.search)
    figure, axes = plt.subplots(
        1 + len(genes), 1, figsize=(9, 4 + 1.3 * len(genes)), sharex=True, height_ratios=[4, *[1] * len(genes)]
    )
    top = axes[0]
    for member in members.values():
        draw_birth(top, member, members, steps)
    winners = [member for member in line if member.fitness is not None]
    x = [steps[member.offspring.generation] for member in winners]
    top.plot(x, [member.fitness for member in winners], color="black", linewidth=2, label="line of the last elite")
    for kind, colour in COLOURS.items():
        top.plot([], [], color=colour, label={"none": "no mutation", "rl_hp": "hyperparameter"}.get(kind, kind))
    if config.training.target is not None:
        top.axhline(config.training.target, color="black", linewidth=0.8, linestyle=":")
    fitness = sorted(member.fitness for member in members.values() if member.fitness is not None)
    top.set_ylim(bottom=fitness[len(fitness) // 10])  # the worst tenth would hide the rest
    top.set_ylabel("mean return in evaluation")
    top.set_title(f"{config.env.id}: population {config.population.size}, seed {config.seed}", loc="left")
    top.legend(fontsize=8, loc="lower right")
    for axis, gene in zip(axes[1:], genes, strict=True):
        everyone = [(steps[m.offspring.generation], m.offspring.genome.hyperparameters[gene]) for m in members.values()]
        axis.plot(*zip(*everyone, strict=True), ".", color="#c0c4c8", markersize=4)
        axis.plot(x, [member.offspring.genome.hyperparameters[gene] for member in winners], color="black")
        axis.set_ylabel(gene)
        if config.search[gene].scale == "log":
            axis.set_yscale("log")
        axis.set_ylim(config.search[gene].min * 0.8, config.search[gene].max * 1.25)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter("")
    axes[-1].set_xlabel("training steps of the whole population")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def draw_birth(axis: plt.Axes, member: Member, members: dict[str, Member], steps: dict[int, int]) -> None:
    """A line from parent to child in the colour of the mutation between them; a founder is a dot."""
    if member.fitness is None:
        return
    here = steps[member.offspring.generation], member.fitness
    colour = COLOURS[member.offspring.mutation.kind]
    axis.plot(*here, ".", color=colour, markersize=6)
    parent = members.get(member.offspring.parent or "")
    if parent is not None and parent.fitness is not None:
        there = steps[parent.offspring.generation], parent.fitness
        axis.plot(*zip(there, here, strict=True), color=colour, linewidth=0.9, alpha=0.8)


def ancestry(members: dict[str, Member], last: Generation) -> list[Member]:
    """The last elite and its ancestors, oldest first."""
    assert last.elite is not None
    line = [members[last.elite.uid]]
    while (parent := line[-1].offspring.parent) is not None:
        line.append(members[parent])
    return line[::-1]


if __name__ == "__main__":
    main()
