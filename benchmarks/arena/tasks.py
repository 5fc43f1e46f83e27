"""Tasks and starts: what is learned, to which score, within how many steps, and what the user has configured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

import yaml

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig

Described = dict[str, Any]
"""A configuration, or a part of one, as it stands in a file."""


@dataclass(frozen=True, slots=True)
class Task:
    """An environment with a target, and a budget of TOTAL steps: training and evaluation, everybody's.

    `ready` names the ready configuration, of which the starts `wide` and `bad` use the environment alone. A `slice` is
    what a member is trained for before it is evaluated on `episodes` episodes, so that evaluation takes 10 to 20 % of
    the steps. `floor` is about the score of a random policy: 0 of the normalized score, whose 1 is the target.
    """

    ready: str
    target: float
    floor: float
    budget: int
    slice: int
    episodes: int
    kwargs: Mapping[str, Any] = field(default_factory=dict)


_PENDULUM = Task("pendulum", target=-200, floor=-1200, budget=400_000, slice=9_600, episodes=8)
_LANDER = Task("lunarlander", target=200, floor=-200, budget=1_000_000, slice=16_384, episodes=8)

TASKS: dict[str, Task] = {
    "pendulum": _PENDULUM,
    "pendulum-light": replace(_PENDULUM, target=-120, floor=-900, kwargs={"g": 6.0}),
    "pendulum-heavy": replace(_PENDULUM, target=-350, floor=-1500, kwargs={"g": 13.0}),
    "acrobot": Task("acrobot", target=-100, floor=-500, budget=600_000, slice=10_240, episodes=5),
    "lunarlander": _LANDER,
    "lunarlander-light": replace(_LANDER, kwargs={"gravity": -6.0}),
    "lunarlander-heavy": replace(_LANDER, kwargs={"gravity": -11.9}),
    "mountaincar": Task("mountaincar", target=90, floor=-35, budget=400_000, slice=16_000, episodes=4),
    "cartpole": Task("cartpole", target=475, floor=20, budget=20_000, slice=1_024, episodes=4),
}

WIDE: Described = {
    "lr": {"min": 1e-6, "max": 1e-1, "scale": "log"},
    "gamma": {"min": 0.8, "max": 0.9999, "scale": "log1m"},
    "gae_lambda": {"min": 0.8, "max": 0.9999, "scale": "log1m"},
    "ent_coef": {"min": 0.0, "max": 0.5},
    "clip_coef": {"min": 0.05, "max": 0.5},
    "vf_coef": {"min": 0.0, "max": 1.0},
}
"""A wide search space, as that of ARLBench (Becktepe et al. 2024)."""

MEDIOCRE: Described = {
    "lr": 3e-4, "gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.01, "clip_coef": 0.2, "vf_coef": 0.5,
    "batch_size": 256, "learn_step": 2048, "update_epochs": 10,
    "normalize_observations": True, "normalize_returns": True,
}  # fmt: skip
"""What a researcher would configure who knows nothing of the task: the values that most implementations start from.

Observations and returns are normalized, for all arms alike: without it Pendulum takes three times as many steps."""

STARTS: dict[str, Described | None] = {
    "wide": MEDIOCRE,
    "bad": {**MEDIOCRE, "lr": 3e-6, "gamma": 0.999, "ent_coef": 0.2},
    "good": None,  # the ready configuration, with its own search space
}

READY: dict[str, Described] = {
    "mountaincar": {  # there is no ready configuration; actions and noise as for the pendulum
        "env": {"id": "MountainCarContinuous-v0", "num_envs": 16},
        "algorithm": {"lr": 1e-3, "gamma": 0.999, "gae_lambda": 0.95, "action_std_init": 1.0, "ent_coef": 0.01,
                      "normalize_observations": True, "normalize_returns": True},
        "network": {"squash_output": True},
        "search": {"lr": {"min": 1e-4, "max": 1e-2, "scale": "log"}, "ent_coef": {"min": 0.0, "max": 0.1}},
    }
}  # fmt: skip


def configuration(task: Task, start: str, seed: int, overrides: Described | None = None) -> RunConfig:
    """Return the configuration of a start: that of the product's defaults, but for what task and start say.

    `overrides` are sections as in a file. The budget of the configuration is out of reach: the arena counts.
    """
    ready, configured = _ready(task.ready), STARTS[start]
    if configured is not None:
        ready = {"env": ready["env"], "algorithm": configured, "search": WIDE}
    described: Described = {
        "env": {**ready["env"], "kwargs": dict(task.kwargs)},
        "algorithm": ready["algorithm"],
        "network": ready.get("network", {}),
        "search": ready["search"],
        "training": {"max_steps": 10**12, "evo_steps": task.slice},
        "evaluation": {"episodes": task.episodes},
        "seed": seed,
    }
    return parse_config(merged(described, overrides or {}))


def merged(described: Described, overrides: Described) -> Described:
    """Return a configuration with sections overridden field by field, `search` gene by gene; None removes an entry."""
    result = dict(described)
    for name, value in overrides.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return {name: value for name, value in result.items() if value is not None}


def _ready(name: str) -> Described:
    if name in READY:
        return READY[name]
    text = resources.files("deployments").joinpath("configs", f"{name}.yaml").read_text()
    ready: Described = yaml.safe_load(text)
    return ready
