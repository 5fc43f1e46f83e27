"""What a member found, as a configuration: its hyperparameters and its network, to evolve further or to train alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evo_core.genome.genome import Genome, algorithm_of
from evo_core.records.chain import Member


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration, and what of the member it does not hold, in sentences."""

    config: RunConfig
    left_out: tuple[str, ...]


def found_config(config: RunConfig, line: Sequence[Member], *, evolve: bool) -> Found:
    """Return a configuration whose first founder has a member's hyperparameters and exactly its network.

    `line` is the member's line of descent, itself last. With `evolve`, the population evolves as in the run, from
    there. Without, there is one member that never mutates, and the budget is what the line was trained for. Raises
    ConfigError where other fields do not allow it.
    """
    member = line[-1]
    genome, mapping = member.offspring.genome, config.model_dump(mode="json")
    learning, clamped = _algorithm(config, genome)
    mapping["algorithm"] = learning
    mapping["network"]["encoder"]["activation"] = genome.activation
    mapping["network"]["latent_dim"] = genome.architecture.latent_dim
    mapping["network"]["architecture"] = network_sizes(genome)
    mapping["population"]["init"] = "identical"
    left_out = [*_left_out(line), *clamped]
    if evolve:
        for name, gene in mapping["search"].items():
            value = learning[name]
            gene["min"], gene["max"] = min(gene["min"], value), max(gene["max"], value)
    else:
        steps = member.offspring.lineage_steps + member.training.steps
        mapping["search"] = {}
        mapping["population"] = {"size": 1}
        mapping["selection"] = {"tournament_size": 1}
        mapping["mutation"] = {"no_mutation": 1, "architecture": 0, "parameters": 0, "activation": 0, "rl_hp": 0}
        mapping["training"]["max_steps"] = max(steps, config.training.evo_steps)
    return Found(parse_config(mapping, installed=False), tuple(left_out))


def network_sizes(genome: Genome) -> dict[str, object]:
    """Return a genome's network as `network.architecture` takes it."""
    sizes: dict[str, object] = genome.architecture.model_dump(mode="json")
    return {name: sizes[name] for name in ("encoder", "latent_dim", "actor_head", "critic_head")}


def _algorithm(config: RunConfig, genome: Genome) -> tuple[dict[str, object], list[str]]:
    """Return the algorithm's section, whose minibatch must fit the rollout, as it does while members learn."""
    found = algorithm_of(genome, config)
    rollout = min(found.learn_step, config.training.evo_steps)
    fitting = found.model_copy(update={"batch_size": min(found.batch_size, rollout)})
    said = []
    if fitting.batch_size != found.batch_size:
        said.append(
            f"batch_size was {found.batch_size}, more than its rollout of {rollout} steps, and had the same effect as "
            f"{rollout}, which is written"
        )
    return fitting.model_dump(mode="json"), said


def _left_out(line: Sequence[Member]) -> list[str]:
    genomes = [member.offspring.genome for member in line]
    changes = sum(before != after for before, after in pairwise(genomes))
    said = [
        "weights, Adam's moments and statistics of observations: training begins anew (evolve export --format onnx)"
    ]
    if changes:
        times = "once" if changes == 1 else f"{changes} times"
        said.append(f"the schedule: along its line values changed {times}, these are the last ones (schedule.json)")
    if any(member.offspring.mutation.kind == "parameters" for member in line):
        said.append("noise on weights, by which some of its ancestors mutated")
    return said
