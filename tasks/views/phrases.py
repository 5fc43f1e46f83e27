"""Wording of mutations, scores and failures, shared by everything that shows them."""

from collections.abc import Iterable

from evo_core.config.objectives import Objective
from evo_core.config.run_config import RunConfig
from evo_core.genome.genome import Genome, sizes
from evo_core.records.chain import (
    Evaluation,
    Failure,
    FailureDetail,
    Member,
    Mutation,
    ObjectiveValue,
    Offspring,
    Training,
)

SMALL = 2.0
"""Scores smaller than this in magnitude are formatted with three decimals."""


def describe_mutation(mutation: Mutation) -> str:
    """Describe what a mutation changed."""
    if mutation.kind == "none":
        return "–"
    if mutation.before is None:
        return mutation.kind
    return f"{mutation.what}: {_short(mutation.before)} → {_short(mutation.after)}"


def describe_origin(offspring: Offspring) -> str:
    """Describe how an offspring differs from its parent: by its mutation; an archived one does not differ."""
    return "archived" if offspring.archived else describe_mutation(offspring.mutation)


def describe_fitness(member: Member | None) -> str:
    """Format a member's fitness; empty if it is unknown."""
    if member is None or member.evaluation is None:
        return ""
    return describe_score(member.evaluation.fitness, member.evaluation.fitness_sem)


def describe_score(mean: float, sem: float | None) -> str:
    """Format a mean with its standard error."""
    return describe_number(mean) if sem is None else f"{describe_number(mean)} ± {describe_number(sem, mean)}"


def describe_interval(interval: tuple[float, float], mean: float) -> str:
    """Format an interval of a mean."""
    return " to ".join(describe_number(end, mean) for end in interval)


def describe_genes(genome: Genome) -> str:
    """List the evolved hyperparameters with their values."""
    return ", ".join(f"{name} {value}" for name, value in written_genes(genome).items())


def written_genes(genome: Genome) -> dict[str, str]:
    """Format the evolved hyperparameters: integers in full, floats with four significant digits."""
    return {name: _short(value) for name, value in genome.hyperparameters.items()}


def describe_network(genome: Genome) -> str:
    """Describe the size of every part of a network: `encoder 2 layers (128 nodes), latent 64, …, tanh`."""
    counts = sizes(genome)
    parts = []
    for name, count in counts.items():
        part, _, noun = name.rpartition(".")
        if noun == "layers":
            rest = [
                f"{n} {x.rpartition('.')[2]}" for x, n in counts.items() if x != name and x.rpartition(".")[0] == part
            ]
            plural = "s" if count != 1 else ""
            parts.append(f"{part.replace('_', ' ')} {count} layer{plural} ({', '.join(rest)})")
        elif noun.endswith("_dim"):
            parts.append(f"{noun.removesuffix('_dim')} {count}")
    return ", ".join([*parts, genome.activation])


def describe_training(record: Training, genome: Genome) -> str:
    """Describe a member's training: its steps, the last mean return of its episodes, and its genes."""
    if not record.curve:
        return "archived: not trained"
    returns = [update.episode_return for update in record.curve if update.episode_return is not None]
    reached = f"mean return {describe_number(returns[-1])}" if returns else "no episode ended"
    return "; ".join(filter(None, [f"trained {record.steps:,} steps, {reached}", describe_genes(genome)]))


def describe_evaluation(evaluation: Evaluation, objective: Objective) -> str:
    """Describe the result of a member's evaluation; beside another fitness the mean return."""
    score = describe_score(evaluation.fitness, evaluation.fitness_sem)
    beside = describe_mean_return(evaluation.other_mean_return)
    said = f"{objective.title} {score}{beside} over {evaluation.episodes} episodes"
    return ", ".join([said, *map(describe_objective, evaluation.objectives)])


def describe_objective(objective: ObjectiveValue) -> str:
    """Describe the value of a further objective: parameters 658, mean length 61.2 ± 4.1."""
    return f"{objective.name} {describe_value(objective)}"


def describe_value(objective: ObjectiveValue) -> str:
    """Format the value of a further objective; whole numbers, such as a network's, in full."""
    if objective.sem is None and objective.value == round(objective.value):
        return f"{objective.value:,.0f}"
    return describe_score(objective.value, objective.sem)


def objective_cells(members: Iterable[Member], member: Member) -> dict[str, str]:
    """Return the further objectives of one of several members, for a table: by the names that any of them has."""
    names = [one.name for other in members if other.evaluation for one in other.evaluation.objectives]
    known = {one.name: describe_value(one) for one in member.evaluation.objectives} if member.evaluation else {}
    return {name: known.get(name, "–") for name in dict.fromkeys(names)}


def describe_mean_return(value: float | None) -> str:
    """Describe the mean return that stands beside another fitness; empty if there is none."""
    return "" if value is None else f" (mean return {describe_number(value)})"


def describe_chunk(fitness: float, episodes: int, objective: Objective) -> str:
    """Describe the result of a chunk of a confirmation."""
    return f"{objective.title} {describe_number(fitness)} over {episodes} fresh episodes"


def describe_target(config: RunConfig) -> str:
    """Describe the target of a run, with the fitness that must reach it where that is not the mean return."""
    target, objective = config.training.target, config.evaluation.objective
    if target is None:
        return "none"
    return f"{target:g}" if objective.is_mean_return else f"{target:g} ({objective.oriented_title})"


def fitness_name(config: RunConfig) -> str:
    """Name the fitness on the axis of a figure: fitness, or what it is if that is not the mean return."""
    objective = config.evaluation.objective
    return "fitness" if objective.is_mean_return else f"fitness: {objective.oriented_title}"


def describe_failure(failure: Failure, detail: FailureDetail | None = None) -> str:
    """Describe why a member did not finish, with its environment's exception."""
    said = f": {detail.cause}" if detail is not None else ""
    return f"failed: {failure.reason} at step {failure.step:,}{said}"


def describe_detail(detail: FailureDetail) -> str:
    """Format a failure detail in several lines: the exception with its location, then the environment's own frames."""
    return "\n".join([detail.sentence, *(f"  {frame}" for frame in detail.frames)])


def describe_left_over(config: RunConfig) -> str:
    """Describe how much of the budget stays unspent, because generations are whole; empty if nothing remains."""
    if not config.left_over_steps or config.population.sizing == "adaptive":
        return ""
    whole = config.planned_steps
    more = config.population.size_of(config.max_generations + 1) * config.training.evo_steps
    return (
        f"{config.left_over_steps:,} of {config.training.max_steps:,} steps are left over, less than a generation of "
        f"{more:,}; a budget of {whole:,} or {whole + more:,} leaves none"
    )


def describe_population(config: RunConfig) -> str:
    """Describe the size of the population: 4; or 12, 8, then 4; or 1 to 4."""
    first, size = config.population.schedule, config.population.size
    if config.population.sizing == "adaptive":
        return f"1 to {size}"
    return f"{', '.join(map(str, first))}, then {size}" if first else str(size)


def describe_evaluation_steps(evaluation: int, training: int) -> str:
    """Format the evaluation steps of a run with their share of all steps; confirmations are not among them."""
    return f"{evaluation:,} steps ({100 * evaluation / max(1, evaluation + training):.0f} % of all)"


def describe_generations(count: int) -> str:
    """Format a number of generations."""
    return f"{count} generation{'s' if count != 1 else ''}"


def describe_number(value: float, beside: float | None = None) -> str:
    """Format a score: one decimal, or three for small scores, such as those of a task that pays at most one."""
    return f"{value:.{1 if abs(value if beside is None else beside) >= SMALL else 3}f}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
