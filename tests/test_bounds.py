"""Every input has a bound: the numbers, texts and lists of files, forms, settings and flags."""

import inspect
import re
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from deployments.entrypoints import evaluate, evolve, gc, resume
from evo_core.config.bounds import DEEPEST, LONGEST_NAME, LONGEST_TEXT, MOST_ENTRIES, SAFE_INTEGER
from evo_core.config.parsing import ConfigError, parse_config
from evo_core.config.run_config import RunConfig
from flows.cli.app import _main, app
from flows.cli.arguments import LONGEST_ARGUMENT, Between
from flows.settings import Settings
from tests.conftest import make_config

FORMS = (evolve, resume, evaluate, gc)
CHOICES = ("anyOf", "oneOf", "allOf", "$ref", "enum", "const")
NUMBERS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
ENDLESS = re.compile(r"(?<!\\)[*+]|\{\d+,\}")


def unbounded(schema, place=""):
    """Return the places of a JSON schema where a number, text, list or mapping has no upper bound."""
    if not isinstance(schema, dict):
        yield f"{place}: anything"
        return
    for key in ("properties", "$defs", "definitions"):
        for name, inner in schema.get(key, {}).items():
            yield from unbounded(inner, f"{place}.{name}")
    for number, inner in enumerate(part for key in CHOICES[:3] for part in schema.get(key, ())):
        yield from unbounded(inner, f"{place}|{number}")
    if any(key in schema for key in CHOICES) or schema.get("type") in ("boolean", "null"):
        return
    kinds = [schema["type"]] if "type" in schema else ["number", "string", "array", "object"]
    for kind in kinds:
        yield from (f"{place}: {kind} {reason}" for reason in _missing(schema, kind))
    yield from (found for inner in _inner(schema) for found in unbounded(inner, f"{place}[]"))


def _missing(schema, kind):
    if kind in ("integer", "number"):
        for keys in NUMBERS:
            bounds = [abs(schema[key]) for key in keys if key in schema]
            if not bounds or max(bounds) > SAFE_INTEGER:
                yield f"without {keys[0]}"
    elif kind == "string":
        pattern = schema.get("pattern")
        if "maxLength" not in schema and (pattern is None or not pattern.endswith("$") or ENDLESS.search(pattern)):
            yield "without maxLength"
    elif kind == "array":
        if "maxItems" not in schema:
            yield "without maxItems"
    elif schema.get("additionalProperties", True) is not False and not ("properties" in schema and "title" in schema):
        if "maxProperties" not in schema:
            yield "without maxProperties"
        elif schema["maxProperties"] and "maxLength" not in schema.get("propertyNames", {}):
            yield "with names without maxLength"


def _inner(schema):
    yield from schema.get("prefixItems", ())
    if schema.get("maxItems") != 0 and isinstance(schema.get("items"), dict):
        yield schema["items"]
    if schema.get("maxProperties") != 0 and isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"]


def commands(app, name="evolve"):
    """Every command of the command line, with the function behind it."""
    if app.default_command is not None:
        yield name, app.default_command
    for inner in app:
        if not inner.startswith("-"):
            yield from commands(app[inner], f"{name} {inner}")


def numbers(function):
    """Every numeric argument of a command, with its range if it has one."""
    hints = get_type_hints(function, include_extras=True)
    for name in inspect.signature(function).parameters:
        hint = hints[name]
        if is_dataclass(hint):
            inner = get_type_hints(hint, include_extras=True)
            annotated = {field.name: inner[field.name] for field in fields(hint)}
        else:
            annotated = {name: hint}
        for field, kind in annotated.items():
            plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
            if {int, float} & {plain, *get_args(plain)}:
                parameters = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
                validators = [found for one in parameters for found in one.validator or ()]
                yield field, next((found for found in validators if isinstance(found, Between)), None)


@cache
def schema_of(form):
    return parameter_schema(form).model_dump()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_field_of_a_form_is_bounded(form):
    assert list(unbounded(schema_of(form))) == []


@pytest.mark.parametrize("model", [RunConfig, Settings], ids=lambda model: model.__name__)
def test_every_field_of_the_configuration_and_of_the_settings_is_bounded(model):
    found = list(unbounded(model.model_json_schema()))
    assert [place for place in found if not place.startswith(".member_memory")] == []  # pydantic's sizes show no bounds


@pytest.mark.parametrize(
    "open_ended",
    [
        {"type": "integer", "minimum": 0},
        {"type": "number", "minimum": 0, "maximum": 1e300},
        {"type": "string"},
        {"type": "string", "pattern": "^[a-z]+$"},
        {"type": "string", "pattern": "^g\\d{4,}$"},
        {"type": "array", "items": {"type": "boolean"}},
        {"type": "object", "additionalProperties": True},
        {"type": "array", "maxItems": 1, "items": {}},
        {"anyOf": [{"type": "null"}, {"type": "integer"}]},
        {},
    ],
    ids=str,
)
def test_the_search_finds_values_without_bounds(open_ended):
    assert list(unbounded({"type": "object", "title": "Form", "properties": {"field": open_ended}}))


@pytest.mark.parametrize(("name", "function"), list(commands(app)), ids=[name for name, _ in commands(app)])
def test_every_number_of_a_command_is_bounded(name, function):
    for field, between in numbers(function):
        assert between is not None, f"{name} --{field}"
        assert max(abs(between.low), abs(between.high)) <= SAFE_INTEGER


def test_the_commands_have_numbers():
    found = {f"{name} {field}" for name, function in commands(app) for field, _ in numbers(function)}
    assert {"evolve resume extend", "evolve run member_deadline", "evolve serve port", "evolve watch seed"} <= found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resume", "r", "--extend", "1" + "0" * 20], "--extend: expected 1 to 9007199254740991"),
        (["resume", "r", "--target", "nan"], "--target: expected -1e15 to 1e15, got nan"),
        (["resume", "r", "--from-generation", "-1"], "--from-generation: expected 0 to 1000000000, got -1"),
        (["run", "--member-deadline", "1e300"], "--member-deadline: expected above 0, at most 2592000"),
        (["run", "--training.max_steps", "1e20"], "training.max_steps: expected at most 9007199254740991, got 1e+20"),
        (["run", "--training.max_steps", "1e300"], "training.max_steps: expected at most 9007199254740991"),
        (["run", "--training.max_steps", "1" + "0" * 20], "expected less than or equal to 9007199254740991"),
        (["run", "--member-memory", "9" * 400 + "GiB"], "--member-memory: expected a size such as 4GiB"),
        (["run", "--member-memory", "9" * 20 + "TiB"], "--member-memory: expected less than or equal to"),
        (["run", "--seed", str(2**53)], "seed: expected less than or equal to 9007199254740991"),
        (["run", "--workers", "9" * 5000], "--workers: expected a number from 1"),
        (["serve", "--limit", "0"], "--limit: expected 1 to"),
        (["serve", "--limit", "1" + "0" * 20], "--limit: expected 1 to"),
        (["run", "--store", "x" * 5000], "--store: string should have at most 4096 characters"),
        (["status", "x" * (LONGEST_ARGUMENT + 1)], f"expected arguments of at most {LONGEST_ARGUMENT} characters"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else " ".join(value)[:30],
)
def test_a_flag_out_of_range_is_refused(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    given = ["--env.id", "CartPole-v1", *([] if "--training.max_steps" in arguments else ["--training.max_steps=1e6"])]
    assert _main([*arguments, *(given if arguments[0] == "run" else ())]) == 2
    assert said.lower() in capsys.readouterr().err.lower()
    assert list(tmp_path.iterdir()) == []


def nested(depth):
    return 1 if depth == 0 else {"a": nested(depth - 1)}


LARGE = {
    "a number": {"n": 10**20},
    "a number below": {"n": [{"n": -(2**53)}]},
    "a text": {"t": "x" * (LONGEST_TEXT + 1)},
    "a list": {"l": [0] * (MOST_ENTRIES + 1)},
    "a name": {"n" * (LONGEST_NAME + 1): 1},
    "many": {str(number): 1 for number in range(MOST_ENTRIES + 1)},
    "deep": nested(DEEPEST + 1),
    "deep lists": {"l": [[[[[[1]]]]]]},
}


@pytest.mark.parametrize("kwargs", LARGE.values(), ids=LARGE)
def test_arguments_of_an_environment_are_bounded_however_deep(kwargs):
    for overrides in ({"env.kwargs": kwargs}, {"env.wrappers": [{"TimeLimit": kwargs}]}):
        with pytest.raises(ConfigError, match=r"env\.(kwargs|wrappers).*: expected "):
            make_config(**overrides)
    for env in ({"kwargs": kwargs}, {"wrappers": [{"TimeLimit": kwargs}]}):
        assert validate({"advanced": {"env": env}}, schema_of(evolve)), "the server refuses it"


def test_arguments_that_environments_take_are_allowed():
    kwargs = {"config": {"observation": {"features": {"x": [-100.5, 1e300, None, True, "word"]}}}, "n": SAFE_INTEGER}
    assert make_config(**{"env.kwargs": kwargs}).env.kwargs == kwargs
    kwargs["config"]["observation"]["features"]["x"].remove(1e300)
    for env in ({"kwargs": {**kwargs, "deep": nested(DEEPEST - 1)}}, {"wrappers": ["A", {"B": kwargs}]}):
        assert validate({"advanced": {"env": env}}, schema_of(evolve)) == []
        parse_config({"env": {"id": "CartPole-v1", **env}, "training": {"max_steps": 10**6}})


@pytest.mark.parametrize(
    "form",
    [
        {"max_steps": 10**20},
        {"evo_steps": 2**53},
        {"target": 1e300},
        {"seed": 2**53},
        {"environment": "x" * 256},
        {"yaml": "x" * 100_001},
        {"evolving": ["lr"] * 11},
        {"advanced": {"evaluation": {"max_steps": 10**20}}},
        {"advanced": {"population": {"min_survivors": 10**20}}},
        {"advanced": {"selection": {"tournament_size": 10**20}}},
        {"advanced": {"search": {"lr": {"min": 0, "max": 1e300}}}},
        {"advanced": {"network": {"head": {"hidden_size": [64] * 1000}}}},
    ],
    ids=lambda form: str(form)[:40],
)
def test_the_server_refuses_what_is_too_large(form):
    assert validate(form, schema_of(evolve))
