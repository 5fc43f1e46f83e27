"""Convert an AgileRL PPO configuration, reporting what is dropped and what changes its value.

The meaning of AgileRL's fields is taken from its source: learn_step counts the steps of all environments, and its
rollouts are rounded up; max_steps and evo_steps are those of one agent; an evaluation plays eval_loop episodes in every
environment, with actions that are drawn; action_std_init is the logarithm of a standard deviation; the value loss is
clipped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evo_core.config.parsing import ConfigError, numbers, parse_config
from evo_core.config.run_config import RunConfig
from evo_core.importers.agilerl.manifest import Given, Manifest, read_manifest, real
from evo_core.importers.agilerl.network_fields import Section, convert_network
from evo_core.importers.agilerl.notes import Notes
from evo_core.importers.agilerl.reasons import OTHER_ALGORITHMS, why_dropped
from evo_core.importers.agilerl.search_fields import convert_search

AGILERL_DEFAULTS: dict[str, object] = {
    "lr": 1e-4,
    "batch_size": 64,
    "update_epochs": 4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_coef": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": None,
    "recurrent": False,
}
"""Defaults of AgileRL's PPO."""

NUM_ENVS, LEARN_STEP, EVO_STEPS, MAX_STEPS = 16, 2048, 10_000, 1_000_000
WEIGHTS = ("no_mutation", "architecture", "new_layer_prob", "parameters", "activation", "rl_hp", "mutation_sd")
"""Fields of a mutation that mean the same here."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted configuration, as sections and validated, with its differences from AgileRL's."""

    sections: dict[str, object]
    config: RunConfig
    notes: Notes


def convert(content: Mapping[str, object]) -> Conversion:
    """Convert a parsed AgileRL configuration. ConfigError names what cannot be converted."""
    manifest = read_manifest({key: numbers(value) for key, value in content.items()})
    _require_ppo(manifest)
    notes = Notes()
    num_envs = _num_envs(manifest, notes)
    learn_step, evo_steps, training = _training(manifest, notes, num_envs)
    algorithm = _algorithm(manifest, notes, learn_step, evo_steps)
    size = manifest.number("training.pop_size", 1)
    sections: dict[str, object] = {
        "env": {**_env(manifest), "num_envs": num_envs},
        "algorithm": algorithm,
        "network": convert_network(manifest, notes),
        "search": convert_search(manifest, notes, algorithm, num_envs),
        "population": {"size": size},
        "training": training,
        "evaluation": _evaluation(manifest, notes, num_envs),
        "selection": _selection(manifest, notes, size),
        "mutation": _mutation(manifest, notes),
    }
    if (seed := manifest.value("mutation.rand_seed")) is not None:
        sections["seed"] = seed
    for name, given in manifest.unused():
        notes.drop(given, why_dropped(name))
    filled = {name: section for name, section in sections.items() if section not in ({}, None)}
    return Conversion(filled, parse_config(filled), notes)


def _require_ppo(manifest: Manifest) -> None:
    given = manifest.take("algorithm.name")
    name = str(given.value) if given else "PPO"
    if name.upper() == "PPO":
        return
    kind = next((kind for kind, names in OTHER_ALGORITHMS.items() if name.upper().replace(" ", "") in names), None)
    what = f"{name} is {kind}" if kind else f"{name} is not known"
    raise ConfigError([f"{given.path if given else 'algorithm.name'}: {what}; evolve trains PPO, and nothing else"])


def _num_envs(manifest: Manifest, notes: Notes) -> int:
    for name in ("environment.num_envs", "algorithm.num_envs"):
        if given := manifest.take(name):
            if (count := manifest.number(name, 0)) < 1:
                raise ConfigError([f"{given.path}: expected at least 1, got {count}"])
            return count
    notes.imply("env.num_envs", NUM_ENVS, "not given")
    return NUM_ENVS


def _env(manifest: Manifest) -> Section:
    name = manifest.take("environment.name")
    if name is None:
        raise ConfigError(["environment.name (ENV_NAME): required, but missing; name a Gymnasium environment"])
    env: Section = {"id": name.value}
    if kwargs := manifest.value("environment.env_config"):
        env["kwargs"] = kwargs
    if wrappers := manifest.take("environment.env_wrappers"):
        env["wrappers"] = [_wrapper(wrapper) for wrapper in _listed(wrappers)]
    if (sync := manifest.value("environment.sync")) is not None:
        env["vectorization"] = "sync" if sync else "async"
    return env


def _training(manifest: Manifest, notes: Notes, num_envs: int) -> tuple[int, int, Section]:
    """Return the steps of a rollout and of a generation, and the section `training`."""
    size = manifest.number("training.pop_size", 1)
    learn_step = manifest.number("algorithm.learn_step", LEARN_STEP)
    evo_steps = manifest.number("training.evo_steps", EVO_STEPS)
    max_steps = manifest.number("training.max_steps", MAX_STEPS)
    if min(learn_step, evo_steps, max_steps) < 1:
        raise ConfigError(["learn_step, evo_steps and max_steps: expected at least 1"])
    rollout = max(learn_step, num_envs)
    generation = math.ceil(max(evo_steps, rollout) / num_envs) * num_envs
    budget = max(max_steps, generation) * size
    notes.change(
        manifest.given.get("algorithm.learn_step"),
        "algorithm.learn_step",
        learn_step,
        rollout,
        f"a rollout holds at least one step of all {num_envs} environments, in AgileRL too",
    )
    notes.change(
        manifest.given.get("training.evo_steps"),
        "training.evo_steps",
        evo_steps,
        generation,
        f"whole steps of all {num_envs} environments, and at least one rollout of {rollout} steps, which AgileRL "
        "always ends",
    )
    notes.change(
        manifest.given.get("training.max_steps"),
        "training.max_steps",
        max_steps,
        budget,
        f"AgileRL's is for one agent; here it is the TOTAL of the {size} members, and at least one generation",
    )
    training: Section = {"max_steps": budget, "evo_steps": generation}
    if target := manifest.take("training.target_score"):
        training["target"] = target.value
        notes.explain(
            target,
            "training.target",
            target.value,
            "AgileRL stops when the recent fitness of all agents exceeds it; here the best member must reach it on "
            "fresh episodes",
        )
    return rollout, generation, training


def _algorithm(manifest: Manifest, notes: Notes, learn_step: int, evo_steps: int) -> Section:
    missing = [name for name in AGILERL_DEFAULTS if f"algorithm.{name}" not in manifest.given]
    section = {name: manifest.value(f"algorithm.{name}", default) for name, default in AGILERL_DEFAULTS.items()}
    section |= {"learn_step": learn_step, "clip_value": True}
    if missing:
        notes.imply(
            "algorithm",
            {name: AGILERL_DEFAULTS[name] for name in missing},
            "not given: AgileRL's defaults are written out",
        )
    notes.imply("algorithm.clip_value", True, "AgileRL always clips the value loss")
    rollout = min(learn_step, evo_steps)
    batch = manifest.number("algorithm.batch_size", 64)
    section["batch_size"] = min(batch, rollout)
    notes.change(
        manifest.given.get("algorithm.batch_size"),
        "algorithm.batch_size",
        batch,
        min(batch, rollout),
        f"a minibatch is at most a rollout of {rollout} steps",
    )
    if spread := manifest.take("algorithm.action_std_init"):
        section["action_std_init"] = round(
            math.exp(min(real(spread), 100.0)), 6
        )  # which is refused below, as too large
        notes.explain(
            spread,
            "algorithm.action_std_init",
            section["action_std_init"],
            "AgileRL's is the logarithm of the standard deviation",
        )
    return section


def _evaluation(manifest: Manifest, notes: Notes, num_envs: int) -> Section:
    loop = manifest.number("training.eval_loop", 1)
    section: Section = {"episodes": loop * num_envs, "deterministic": False}
    notes.change(
        manifest.given.get("training.eval_loop"),
        "evaluation.episodes",
        loop,
        loop * num_envs,
        f"AgileRL plays eval_loop episodes in each of its {num_envs} environments",
    )
    notes.imply("evaluation.deterministic", False, "AgileRL evaluates with actions that are drawn")
    if (steps := manifest.value("training.eval_steps")) is not None:
        section["max_steps"] = steps
    return section


def _selection(manifest: Manifest, notes: Notes, size: int) -> Section:
    tournament = manifest.number("selection.tournament_size", 2)
    notes.change(
        manifest.given.get("selection.tournament_size"),
        "selection.tournament_size",
        tournament,
        min(tournament, size),
        f"a tournament has at most as many members as the population ({size})",
    )
    section: Section = {
        "tournament_size": min(tournament, size),
        "elitism": manifest.value("selection.elitism", True),
    }
    if (window := manifest.value("selection.eval_loop")) is not None:
        section["fitness_window"] = window
    episodes = manifest.given.get("training.eval_loop")
    if (
        episodes is not None
        and episodes.path.lower().startswith("init_hp.")
        and manifest.number("training.eval_loop", 1) > 1
    ):
        section.setdefault("fitness_window", episodes.value)
        notes.explain(
            episodes,
            "selection.fitness_window",
            section["fitness_window"],
            "TournamentSelection(eval_loop=INIT_HP['EVAL_LOOP']) averages as many of the last fitnesses",
        )
    strategy = manifest.take("selection.strategy")
    if strategy is not None and strategy.value != "tournament":
        notes.drop(strategy, "parents are chosen by tournaments here")
    return section


def _mutation(manifest: Manifest, notes: Notes) -> Section:
    section = {name: found.value for name in WEIGHTS if (found := manifest.take(f"mutation.{name}")) is not None}
    if spread := manifest.take("mutation.mutation_sd"):
        notes.explain(
            spread,
            "mutation.mutation_sd",
            spread.value,
            "here the noise is relative to the root mean square of each weight matrix",
        )
    hpo = manifest.take("training.hpo")
    if hpo is not None and hpo.value is False:
        section = {**dict.fromkeys(WEIGHTS[:-1], 0.0), "no_mutation": 1.0}
        notes.explain(hpo, "mutation.no_mutation", 1.0, "nothing mutates; but parents are still selected")
    return section


def _wrapper(wrapper: object) -> object:
    """Write a wrapper as ours are: its name, or its name with its arguments; Gymnasium's own by their bare names."""
    name, arguments = wrapper if isinstance(wrapper, list | tuple) and len(wrapper) == 2 else (wrapper, None)
    module, _, attribute = str(name).replace(":", ".").rpartition(".")
    own = attribute if not module or module.startswith("gymnasium.wrappers") else f"{module}:{attribute}"
    return {own: dict(arguments)} if isinstance(arguments, Mapping) and arguments else own


def _listed(given: Given) -> list[object]:
    if not isinstance(given.value, list | tuple):
        raise ConfigError([f"{given.path}: expected a list of wrappers, got {given.value!r}"])
    return list(given.value)
