"""Replays follow a line's genomes from new weights."""

from evo_core.envs.inspection import inspect_environment
from evo_core.evolution.schedule_replay import replay, replay_seeds
from evo_core.lineage.tree import Lineage
from evo_core.local import train_on_policy
from tests.conftest import make_config

CONFIG = make_config(
    **{"training.max_steps": 3 * 3 * 256, "mutation": {"no_mutation": 0.0, "rl_hp": 0.5, "architecture": 1.0}}
)


def test_a_schedule_is_followed_genome_by_genome_and_repeats_itself():
    result = train_on_policy(CONFIG)
    line = Lineage(result.commits).line(result.commits[-1].members[2].uid)
    assert len({member.offspring.genome.model_dump_json() for member in line}) > 1
    spaces, seen = inspect_environment(CONFIG).spaces, []
    seeds = replay_seeds(CONFIG, 3)
    assert replay_seeds(CONFIG, 2) == seeds[:2] and len(set(seeds)) == 3
    made = replay(CONFIG, line, "schedule", seeds[0], spaces, on_generation=seen.append)
    assert [m.offspring.genome for m in seen] == [m.offspring.genome for m in line]
    assert made.steps == (256, 512, 768) and len(made.fitness) == 3 and len(made.returns) == 4
    assert made.uid == line[-1].uid and made.failure is None
    assert replay(CONFIG, line, "schedule", seeds[0], spaces) == made
    other = replay(CONFIG, line, "schedule", seeds[1], spaces)
    assert other.fitness != made.fitness
    assert seen[0].training.blob != line[0].training.blob
    seen.clear()
    fixed = replay(CONFIG, line, "fixed", seeds[0], spaces, on_generation=seen.append)
    assert {m.offspring.genome.model_dump_json() for m in seen} == {line[-1].offspring.genome.model_dump_json()}
    assert fixed.kind == "fixed" and fixed.steps == made.steps


def test_a_failed_replay_is_reported():
    config = make_config("Probe/Faulty-v0", **{"training.max_steps": 1536, "env.kwargs": {"after": 10_000}})
    result = train_on_policy(config)
    line = Lineage(result.commits).line(result.commits[-1].members[0].uid)
    broken = config.model_copy(update={"env": config.env.model_copy(update={"kwargs": {"after": 5}})})
    made = replay(broken, line, "schedule", 1, inspect_environment(config).spaces)
    assert made.failure.reason == "nan_reward" and made.fitness == () and made.returns == ()
