"""Titles of form fields, which replace flags and configuration names in messages."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext

from evo_core.config.nested_fields import section_of
from evo_core.config.parsing import ConfigError
from evo_core.config.run_config import RunConfig
from flows.settings import BadInput
from flows.views.database_faults import tolerated
from tasks.logs.redaction import concealed
from tasks.logs.run_log import log_to_run

P = ParamSpec("P")
R = TypeVar("R")

SHOWN = {
    "environment": "env.id",
    "population_size": "population.size",
    "max_steps": "training.max_steps",
    "evo_steps": "training.evo_steps",
    "target": "training.target",
    "num_envs": "env.num_envs",
    "lr": "algorithm.lr",
    "batch_size": "algorithm.batch_size",
    "learn_step": "algorithm.learn_step",
    "recurrent": "algorithm.recurrent",
    "seed": "seed",
}
"""Configuration field of each field of the form."""

TITLES = {
    "environment": "Environment",
    "population_size": "Members of the population",
    "max_steps": "Budget in steps",
    "evo_steps": "Steps per member and generation",
    "target": "Target",
    "num_envs": "Copies of the environment",
    "lr": "Learning rate",
    "batch_size": "Minibatch size",
    "learn_step": "Steps per update",
    "recurrent": "Recurrent policy",
    "seed": "Seed",
    "evolving": "Evolving hyperparameters",
    "yaml": "Configuration as YAML",
    "advanced": "Advanced",
}
"""Titles of the form's fields."""

FLAGS = {
    "--extend": "Budget in steps",
    "--target": "Target",
    "--from-generation": "From generation",
    "--run-id": "Name of the run",
    "--member": "Member",
}
"""Titles in the forms of the command line's flags."""

OF_ONE_FORM = {"resume": {"--run-id": "Name of the branch"}}
"""Titles that differ in one form, by the flow's name."""

LONGEST_NAME = 200
"""Maximum length of the name of a rejected flow run, which contains the reason."""

_NAMES = re.compile(rf"(?m)(?<![\w./])(?:{'|'.join(RunConfig.model_fields)})\.[a-z_]+(?:\.[a-z_]+)*|^seed(?=:)")


@dataclass(frozen=True, slots=True)
class Refused:
    """Placeholder for every parameter of a flow run whose parameters are invalid."""

    reason: str


def errors_in_form_terms(body: Callable[P, R]) -> Callable[P, R]:
    """Replace flags and configuration fields by the form's titles in errors of a flow's body.

    The name of a rejected flow run contains the reason, too.
    """

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            for value in (*args, *kwargs.values()):
                if isinstance(value, Refused):
                    raise BadInput(value.reason)
            return body(*args, **kwargs)
        except (BadInput, ConfigError) as error:
            given = inspect.signature(body).bind_partial(*args, **kwargs).arguments
            said = replace_names_by_titles(str(error), body.__name__, pasted=bool(given.get("yaml")))
            _show_in_name(said)
            raise BadInput(said) from error

    return run


def replace_names_by_titles(said: str, form: str, *, pasted: bool = False) -> str:
    """Replace names by titles, except in commands, which are between backticks.

    A message about a pasted file keeps the names of the file.
    """
    words = FLAGS | OF_ONE_FORM.get(form, {})
    flags = re.compile("|".join(rf"{re.escape(flag)}(?![\w-])" for flag in words))

    def translated(part: str) -> str:
        part = flags.sub(lambda found: words[found[0]], part)
        return part if pasted else _NAMES.sub(lambda found: _title(found[0]), part)

    return "`".join(part if place % 2 else translated(part) for place, part in enumerate(said.split("`")))


def refused_name(base: str, reason: str) -> str:
    """Return the name of a rejected flow run."""
    name = concealed(f"{base}, refused: {' '.join(reason.split())}")
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _show_in_name(said: str) -> None:
    """Write the reason of a rejection into the current flow run's name, which the UI shows in header and lists."""
    if FlowRunContext.get() is None or TaskRunContext.get() is not None or ", refused: " in runtime.flow_run.name:
        return
    with (
        tolerated(lambda reason: log_to_run(f"the run's name stays as it is: {reason}")),
        get_client(sync_client=True) as api,
    ):
        api.set_flow_run_name(runtime.flow_run.id, refused_name(runtime.flow_run.name, said))


@cache
def _title(name: str) -> str:
    """Return where the form shows a field of the configuration."""
    shown = {dotted: TITLES[field] for field, dotted in SHOWN.items()}
    if name in shown:
        return shown[name]
    first, *rest = name.split(".")
    section = section_of(RunConfig.model_fields[first])
    title = section.model_config.get("title") if section else None
    named = rest if first == "search" else [word.replace("_", " ").title() for word in rest]
    return " → ".join(["Advanced", title or first.title(), *named])
