"""Evolution as this project does it, from the configuration alone: arms differ in what they override there."""

from benchmarks.arena.race import Race
from benchmarks.arena.tasks import Described, Task
from evo_core.evolution.population import create_population, next_generation, require_survivors
from evo_core.local import Blobs, run_member
from evo_core.records.chain import Member

FOUR: Described = {"population": {"size": 4}}
CLONES: Described = {"mutation": {"no_mutation": 1, "architecture": 0, "parameters": 0, "rl_hp": 0}}
GENES: Described = {"mutation": {"no_mutation": 0.5, "architecture": 0, "parameters": 0, "rl_hp": 0.5}}
DIVERSE: Described = {"population": {"init": "diverse"}}
WARM: Described = {"selection": {"warm_up": 2}}
TRUNCATION: Described = {"selection": {"method": "truncation"}}
ADAPTIVE: Described = {"population": {"size": 4, "sizing": "adaptive"}}
ARCHIVE: Described = {"selection": {"archive": 1}}
KL: Described = {
    "algorithm": {"lr_schedule": "kl"},
    "search": {"lr": None, "desired_kl": {"min": 0.003, "max": 0.03, "scale": "log"}},
}
"""The learning rate follows the KL divergence, and the divergence that it aims for evolves instead of it."""


def together(*parts: Described) -> Described:
    """Return the overrides of several parts."""
    whole: Described = {}
    for part in parts:
        whole = {name: {**whole.get(name, {}), **part.get(name, {})} for name in {**whole, **part}}
    return whole


OURS: dict[str, Described] = {
    "adaptive": together(ADAPTIVE, GENES),
    "adaptive-kl": together(ADAPTIVE, GENES, KL),
    "adaptive-2-kl": together(ADAPTIVE, {"population": {"size": 2}}, GENES, KL),
    "adaptive-8-kl": together(ADAPTIVE, {"population": {"size": 8}}, GENES, KL),
    "shipped": {},  # the defaults of the configuration
    "shipped-4": FOUR,
    "clones-4": together(FOUR, CLONES),
    "genes-4": together(FOUR, GENES),
    "diverse-4": together(FOUR, GENES, DIVERSE),
    "all-4": together(FOUR, GENES, DIVERSE, WARM, TRUNCATION, ARCHIVE, KL),
    "all-4-no-genes": together(FOUR, CLONES, DIVERSE, WARM, TRUNCATION, ARCHIVE, KL),
    "all-4-architecture": together(FOUR, DIVERSE, WARM, TRUNCATION, ARCHIVE, KL),
    "all-4-identical": together(FOUR, GENES, WARM, TRUNCATION, ARCHIVE, KL),
    "all-4-no-warm-up": together(FOUR, GENES, DIVERSE, TRUNCATION, ARCHIVE, KL),
    "all-4-tournament": together(FOUR, GENES, DIVERSE, WARM, ARCHIVE, KL),
    "all-4-no-archive": together(FOUR, GENES, DIVERSE, WARM, TRUNCATION, KL),
    "all-4-lr": together(FOUR, GENES, DIVERSE, WARM, TRUNCATION, ARCHIVE),
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
