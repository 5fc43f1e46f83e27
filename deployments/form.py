"""The form of a run in the Prefect UI: fifteen fields, a box for all others, and one for a pasted file.

Names, defaults and bounds are those of the configuration (evo_core/config/sections.py); the titles are the form's own.
"""

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from annotated_types import Le
from pydantic import ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from deployments.field_titles import SHOWN, TITLES
from evo_core.config.bounds import describe_range
from evo_core.config.genes import SearchSpace
from evo_core.config.nested_fields import leaf_fields, section_of
from evo_core.config.parsing import ConfigError, parse_config
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.config.sections import AlgorithmConfig, Section
from tasks.runs.record_store import RUN_ID
from tasks.yaml_text import MOST_CHARACTERS, load_yaml

DEFAULT = parse_config({"env": {"id": "CartPole-v1"}, "training": {"max_steps": 1_500_000}})

EVOLVING: tuple[str, ...] = ("lr", "batch_size", "learn_step")
FACTOR, WHOLE_FACTOR = 10, 4
"""Default range of a hyperparameter as a factor of its initial value: for floats, for integers."""

_NAMED = "Lower-case letters, digits, - and _, at most 63."


def labeled(title: str, description: str, **constraints: Any) -> Any:
    """Describe a form parameter: title, text, and constraints that are checked on submit.

    They are extras of the schema, because Prefect overwrites titles and descriptions.
    """
    return Field(json_schema_extra={"title": title, "description": description}, **constraints)


def labeled_number(title: str, description: str, low: float, high: float, *, null: str = "") -> Any:
    """Describe a number of a form, with its range in the text; `null` says what holds without a value."""
    words = f"{description} {describe_range(low, high).capitalize()}."
    return labeled(title, f"{words} None: {null}." if null else words, ge=low, le=high)


def existing_run(description: str, pattern: str) -> Any:
    """Describe a parameter that names an existing run: typed, or chosen from the list of deployments/run_choices.py."""
    field = labeled("Run", description, pattern=pattern)
    field.json_schema_extra["anyOf"] = [{"title": "by name", "type": "string", "pattern": pattern}]
    return field


NewRun = Annotated[
    str,
    labeled(
        "Name of the run",
        f"{_NAMED} An existing run with the same configuration is continued. Empty: generated.",
        pattern=f"^({RUN_ID.pattern})?$",
    ),
]
NewBranch = Annotated[
    str,
    labeled(
        "Name of the branch",
        f"With From generation only: the name of the new run. {_NAMED} Empty: generated.",
        pattern=f"^({RUN_ID.pattern})?$",
    ),
]
ExistingRun = Annotated[str, existing_run(f"The name of an existing run. {_NAMED}", f"^{RUN_ID.pattern}$")]
AnyRun = Annotated[
    str, existing_run(f"The name of an existing run. {_NAMED} Empty: every run.", f"^({RUN_ID.pattern})?$")
]
if TYPE_CHECKING:
    Hyperparameter = str
else:
    Hyperparameter = Literal[
        *(
            name
            for name in evolvable_hyperparameters()
            if AlgorithmConfig.model_fields[name].default is not None and name != "desired_kl"
        )
    ]
"""Hyperparameters that have an initial value, around which they can evolve, under the default `lr_schedule`."""

Evolving = Annotated[
    list[Hyperparameter],
    labeled(
        TITLES["evolving"],
        f"Each moves between 1/{FACTOR} and {FACTOR} times its initial value (integers: 1/{WHOLE_FACTOR} and "
        f"{WHOLE_FACTOR} times; gamma and gae_lambda: their distance to 1). Other ranges: advanced, search.",
        max_length=len(get_args(Hyperparameter)),
    ),
]
Yaml = Annotated[
    str,
    labeled(
        TITLES["yaml"],
        f"A whole configuration file, pasted; at most {MOST_CHARACTERS} characters. It replaces every other field but "
        "the name of the run; those must then keep their defaults.",
        max_length=MOST_CHARACTERS,
    ),
]


def form_field(name: str) -> FieldInfo:
    """Describe a field of the form with the bounds and description of its configuration field."""
    field = copy(_config_field(SHOWN[name]))
    field.json_schema_extra = {"title": TITLES[name], "description": field.description or ""}
    return field


def _config_field(dotted: str) -> FieldInfo:
    return dict(leaf_fields(RunConfig))[dotted]


def _rest() -> dict[str, Any]:
    """Collect the configuration's sections without the fields that the form shows by themselves."""
    fields: dict[str, Any] = {}
    for name, field in RunConfig.model_fields.items():
        if name in SHOWN.values():
            continue
        if name == "search":
            described: Any = Field(
                default={}, description="Ranges of evolving hyperparameters: name → {min, max, scale}."
            )
            fields[name] = (SearchSpace, described)
            continue
        section = section_of(field)
        assert section is not None
        inner: dict[str, Any] = {
            leaf: (item.annotation, item)
            for leaf, item in section.model_fields.items()
            if f"{name}.{leaf}" not in SHOWN.values()
        }
        if inner:
            title = section.model_config.get("title") or name.title()
            model = create_model(f"Advanced{section.__name__}", __config__=_config(title), **inner)
            fields[name] = (model, Field(default=model(), description=field.description))
    return fields


def _default(dotted: str) -> Any:
    value: Any = DEFAULT
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def _config(title: str) -> ConfigDict:
    return ConfigDict(**{**Section.model_config, "title": title})


Advanced = create_model("Advanced", __config__=_config("Advanced"), **_rest())
"""All other fields of a configuration, in their sections, with their defaults."""

AdvancedBox = Annotated[
    Advanced | None,
    labeled("Advanced", "Everything else: network, mutation, selection, evaluation, ranges. None: the defaults."),
]
"""Collapsible section of the form: optional fields are collapsed initially."""


def config_of(form: Mapping[str, Any]) -> RunConfig:
    """Convert the form's fields to a configuration; ConfigError uses the form's titles."""
    if str(form["yaml"]).strip():
        return _pasted(form)
    sections: dict[str, Any] = (form["advanced"] or Advanced()).model_dump()
    chosen = sections.pop("search")
    initial = {**sections["algorithm"], **{name: form[name] for name in form if name in AlgorithmConfig.model_fields}}
    search = {name: _gene_around(name, initial[name], form["num_envs"]) for name in form["evolving"]}
    overrides = {dotted: form[name] for name, dotted in SHOWN.items()}
    return parse_config({**sections, "search": {**search, **chosen}}, overrides)


def _pasted(form: Mapping[str, Any]) -> RunConfig:
    changed = [name for name, value in form.items() if name in FORM_DEFAULTS and value != FORM_DEFAULTS[name]]
    if changed:
        raise ConfigError(
            [
                f"{TITLES['yaml']}: a pasted file is the whole configuration, but "
                f"{', '.join(TITLES[name] for name in changed)} was changed in the form; put the value into the file, "
                "or clear this field"
            ]
        )
    text = str(form["yaml"])
    content = load_yaml(text, f"{TITLES['yaml']}: not YAML")
    if not isinstance(content, dict):
        raise ConfigError(
            [f"{TITLES['yaml']}: expected sections such as env: and training:, got {str(content)[:80]!r}"]
        )
    return parse_config(content)


def _gene_around(name: str, initial: Any, num_envs: int) -> dict[str, Any]:
    """Choose a range around an initial value, within the hyperparameter's own bounds."""
    if name in ("gamma", "gae_lambda"):
        distance = 1 - initial
        return {"min": max(0.0, 1 - distance * FACTOR), "max": 1 - distance / FACTOR, "scale": "log1m"}
    if not initial:
        raise ConfigError(
            [
                f"{TITLES['evolving']}: {name} begins at {initial}, around which there is no range; give one in "
                f'Advanced → Search: {{"{name}": {{"min": 0, "max": 0.1}}}}'
            ]
        )
    limits = [item.le for item in AlgorithmConfig.model_fields[name].metadata if isinstance(item, Le)]
    if evolvable_hyperparameters()[name] is int:
        least = num_envs if name == "learn_step" and initial >= num_envs else 1
        low, high = max(least, initial // WHOLE_FACTOR), initial * WHOLE_FACTOR
    else:
        low, high = initial / FACTOR, initial * FACTOR
    return {"min": low, "max": min([high, *limits]), "scale": "log"}


FORM_DEFAULTS: dict[str, Any] = {
    **{name: _default(dotted) for name, dotted in SHOWN.items()},
    "evolving": list(EVOLVING),
    "advanced": None,
}
"""Initial values of the form."""
