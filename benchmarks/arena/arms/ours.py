"""Evolution as this project does it, from the configuration alone: arms differ in what they override there."""

from benchmarks.arena.race import Race
from benchmarks.arena.tasks import Described, Task
from evo_core.evolution.population import create_population, next_generation, require_survivors
from evo_core.local import Blobs, run_member
from evo_core.records.chain import Member

CLONES: Described = {"mutation": {"no_mutation": 1, "architecture": 0, "parameters": 0, "rl_hp": 0}}
KL: Described = {
    "algorithm": {"lr_schedule": "kl"},
    "search": {"lr": None, "desired_kl": {"min": 0.003, "max": 0.03, "scale": "log"}},
}
HYPERPARAMETERS: Described = {"mutation": {"no_mutation": 0.5, "architecture": 0, "parameters": 0, "rl_hp": 0.5}}

OURS: dict[str, Described] = {
    "shipped": {},  # the defaults of the configuration
    "shipped-4": {"population": {"size": 4}},
    "clones-4": {"population": {"size": 4}, **CLONES},
    "hp-4": {"population": {"size": 4}, **HYPERPARAMETERS},
    "diverse-4": {"population": {"size": 4, "init": "diverse"}, **HYPERPARAMETERS},
}


def evolve(race: Race, task: Task) -> None:
    """Run generation after generation of the product's own loop; `evo_core/local.py` is that loop."""
    config, blobs = race.config, Blobs()
    commit = create_population(config, race.spaces.observation)
    while True:
        members: list[Member] = []
        for offspring in commit.offspring:
            race.require_budget()
            member = run_member(config, offspring, blobs, race.spaces)
            members.append(member)
            evaluation = member.evaluation
            race.count(member.training.steps, evaluation.steps if evaluation else 0)
            if evaluation is not None and member.training.blob is not None:
                race.consider(member.uid, blobs[member.training.blob.sha256], evaluation)
        require_survivors(config, commit.generation + 1, members)
        commit = next_generation(config, commit, members)
        kept = {offspring.parent_blob.sha256 for offspring in commit.offspring if offspring.parent_blob}
        blobs = {name: blob for name, blob in blobs.items() if name in kept}
