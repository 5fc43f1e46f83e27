"""Learning curves of drawn configurations, one JSON line each: how sensitive the core is, and when a score says enough.

    python -m benchmarks.arena.curves --task pendulum --slices 12 --seeds 1000-1059 --configured 12 --out FILE

A row per slice: fitness, its standard error, steps of the evaluation, mean of 20 test episodes, mean return in
training. Rules of selection that do not change weights can be tried on such a table without training anything.
"""

import json
from pathlib import Path

import numpy as np
from cyclopts import App

from benchmarks.arena.arms import overrides
from benchmarks.arena.race import Race
from benchmarks.arena.tasks import TASKS, configuration
from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import from_bytes
from evo_core.evaluation.episodes import evaluate, evaluation_seeds, play_episodes
from evo_core.evolution.mutation import NONE
from evo_core.numerics.provenance import one_thread
from evo_core.records.chain import Offspring, Update, uid
from evo_core.training import train

app = App(name="python -m benchmarks.arena.curves", help="Record learning curves of drawn configurations.")
TEST = range(20_000, 20_020)

Row = list[float | None]


@app.default
def curves(
    *, out: Path, task: str = "pendulum", arm: str = "", slices: int = 12, seeds: str, configured: int = 0
) -> None:
    """Append a curve per seed; the first `configured` have the configured values, all others are drawn.

    `arm` names an arm whose overrides of the configuration apply, such as single-kl.
    """
    first, _, last = seeds.partition("-")
    for index, seed in enumerate(range(int(first), int(last or first) + 1)):
        race = Race(configuration(TASKS[task], "wide", seed, overrides(arm)), budget=10**12)
        candidate = race.configured if index < configured else race.draw()
        line = {"seed": seed, "configured": index < configured, "genes": candidate.hyperparameters}
        founder = Offspring(
            uid=uid(1, 0), generation=1, index=0, parent=None, parent_blob=None, genome=candidate.genome,
            mutation=NONE,
        )  # fmt: skip
        with out.open("a") as file:
            file.write(json.dumps({**line, "rows": curve(race, founder, slices)}) + "\n")


def curve(race: Race, founder: Offspring, slices: int) -> list[Row]:
    """Train a founder slice by slice; a curve ends where training fails."""
    rows: list[Row] = []
    blob: bytes | None = None
    for number in range(1, slices + 1):
        offspring = founder.model_copy(update={"uid": uid(number, 0), "generation": number})
        blob, training = train(race.config, offspring, blob, race.spaces)
        if blob is None:
            return rows
        with one_thread():
            agent = Agent(from_bytes(blob, race.spaces), race.spaces)
            fitness = evaluate(agent, race.config, evaluation_seeds(race.config, number))
            test = float(play_episodes(agent, race.config, list(TEST)).returns.mean())
        rows.append([fitness.fitness, fitness.fitness_sem, fitness.steps, test, trained(training.curve)])
    return rows


def trained(updates: tuple[Update, ...]) -> float | None:
    """Return the mean of the returns that updates saw, None where no episode ended."""
    found = [update.episode_return for update in updates if update.episode_return is not None]
    return float(np.mean(found)) if found else None


if __name__ == "__main__":
    app()
