"""evolve evaluate: score a member on seeds that selection never used. Imports nothing heavy until it plays."""

from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from rich.table import Table

from evo_core.config.bounds import MOST_EPISODES
from evo_core.seeding import POPULATION, Purpose, stream
from flows.cli.arguments import Deliver, Json, MemberName, Run, Seed, Store, number
from flows.cli.member_choice import choose, require_episodes
from flows.cli.output import emit
from flows.member_lookup import SCORED_EPISODES, Chosen
from tasks.views.phrases import describe_interval, describe_number, describe_objective, describe_score

if TYPE_CHECKING:
    from evo_core.evaluation.scores import Interval, Score


def evaluate(
    run_id: Run,
    /,
    *,
    member: MemberName = None,
    deliver: Deliver = None,
    episodes: Annotated[int, number("Full episodes to play.", 1, MOST_EPISODES)] = SCORED_EPISODES,
    seed: Seed = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Score an agent on fresh episodes, which neither selection nor confirmation used."""
    require_episodes(episodes, seed)
    chosen = choose(run_id, member, store, deliver=deliver)
    from evo_core.evaluation.episodes import play_episodes, report_seeds, summarize_objectives
    from evo_core.evaluation.scores import add_fitness, score

    seed = chosen.config.seed if seed is None else seed
    seeds = report_seeds(chosen.config, episodes, seed)
    with chosen.playing():
        played = play_episodes(chosen.agent, chosen.config, seeds)
    rng, objective = stream(seed, 0, POPULATION, Purpose.RESAMPLE), chosen.config.evaluation.objective
    found = add_fitness(score(played.returns, played.lengths, rng), played.values, objective, rng)
    found = found.model_copy(update={"objectives": summarize_objectives(chosen.agent, played.more, chosen.config, rng)})
    if json:
        rows = zip(seeds, played.returns.tolist(), played.lengths.tolist(), strict=True)
        each: list[dict[str, float]] = [{"seed": one, "return": total, "length": length} for one, total, length in rows]
        if found.fitness is not None:
            each = [{**row, "value": value} for row, value in zip(each, played.values.tolist(), strict=True)]
        about = {"run_id": run_id, "member": chosen.member.uid, "why": chosen.why, "seed": seed}
        emit({**about, **found.model_dump(mode="json"), "played": each})
    else:
        _print(chosen, found, seed)
    return 0


def _print(chosen: Chosen, found: "Score", seed: int) -> None:
    console = Console()
    console.print(
        f"{chosen.member.uid} of {chosen.run_id} ({chosen.why}): {found.episodes} fresh episodes, seed {seed}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("return", "value", "95 % CI (bootstrap)")
    table.add_row("mean", describe_score(found.mean, found.sem), _between(found.mean_ci95, found.mean))
    table.add_row("interquartile mean", describe_number(found.iqm), _between(found.iqm_ci95, found.iqm))
    table.add_row("lowest, highest", f"{describe_number(found.min)}, {describe_number(found.max)}", "")
    table.add_row("steps per episode", f"{found.length:.1f} ({found.length_min:,} to {found.length_max:,})", "")
    console.print(table, highlight=False)
    for objective in found.objectives:
        console.print(describe_objective(objective), highlight=False)
    if (fitness := found.fitness) is not None:
        less = ", less is better" if fitness.direction == "minimize" else ""
        value = describe_score(fitness.value, fitness.sem)
        interval = _between(fitness.ci95, fitness.value)
        console.print(f"fitness, {fitness.name}{less}: {value} (95 % CI {interval})", highlight=False, soft_wrap=True)


def _between(interval: "Interval | None", mean: float) -> str:
    return "–" if interval is None else describe_interval(interval, mean)
