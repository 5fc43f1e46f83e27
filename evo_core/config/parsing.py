"""Parse a mapping (from a file, flags or a form) into a RunConfig, with errors that say what to change."""

import difflib
import re
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from evo_core.config.bounds import SAFE_INTEGER
from evo_core.config.genes import Gene
from evo_core.config.nested_fields import find_section
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.plugins.naming import INSTALLED

_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


class ConfigError(ValueError):
    """Raised for an invalid configuration; each line names field, value and what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def parse_config(
    mapping: Mapping[str, object], overrides: Mapping[str, object] | None = None, *, installed: bool = True
) -> RunConfig:
    """Build a RunConfig from nested sections and dotted overrides such as {"algorithm.lr": 3e-4}.

    Raises ConfigError with one line per problem. Plugins must be `installed`, unless the configuration only describes a
    run.
    """
    merged: dict[str, object] = dict(mapping)
    for dotted, value in (overrides or {}).items():
        _set_dotted(merged, dotted, value)
    try:
        plain = {key: numbers(value) for key, value in merged.items()}
        return RunConfig.model_validate(plain, context=INSTALLED if installed else None)
    except ValidationError as error:
        problems = sorted(
            error.errors(), key=lambda item: item["type"] == "missing"
        )  # missing fields are often misspelled
        raise ConfigError(list(dict.fromkeys(_describe(item) for item in problems))) from None


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Suggest the nearest known word, or list all of them, each with the prefix that the user wrote before the word."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(prefix + word for word in near)}?"
    return f"known: {', '.join(prefix + word for word in words)}"


def config_differences(old: RunConfig, new: RunConfig) -> list[str]:
    """List the fields in which two configurations differ, one line each."""
    before, after = _flatten(old.model_dump()), _flatten(new.model_dump())
    return [
        f"{key}: {before.get(key, 'absent')} in the store, {after.get(key, 'absent')} given"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def numbers(value: object) -> object:
    """Convert strings such as 1e6 to numbers, because readers of YAML 1.1 return them as strings.

    Arguments of the environment, of its wrappers and of plugins stay as they are.
    """
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)
    if isinstance(value, Mapping):
        return {key: item if key in ("kwargs", "wrappers", "options") else numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list | tuple) else value


def _set_dotted(target: dict[str, object], dotted: str, value: object) -> None:
    *sections, leaf = dotted.split(".")
    for depth, name in enumerate(sections):
        inner = target.get(name, {})
        if not isinstance(inner, Mapping):
            raise ConfigError([f"{dotted}: {'.'.join(sections[: depth + 1])} is a value, not a section"])
        target[name] = dict(inner)
        target = target[name]  # type: ignore[assignment]
    target[leaf] = value


def _describe(error: object) -> str:
    assert isinstance(error, dict)
    location = [str(part) for part in error["loc"]]
    field = ".".join(location) or "configuration"
    given, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        return f"{field}: unknown key; {did_you_mean(location[-1], _siblings(location[:-1]))}"
    if kind == "missing":
        hint = {"env": "env.id", "training": "training.max_steps"}.get(field, field)
        return f"{field}: required, but missing; give a configuration file, or --{hint}"
    if kind == "value_error":
        message = str(error["ctx"]["error"])
        return f"{field}: {message}" if location else message
    if kind == "int_parsing_size":
        return f"{field}: expected at most {SAFE_INTEGER}, got {str(given)[:40]}"
    return f"{field}: {_expectation(str(error['msg']))}, got {repr(given)[:200]}"


def _expectation(message: str) -> str:
    """Convert pydantic's message to the text that follows a field's name."""
    expected = message.replace("Input should be", "expected").replace("a valid tuple", "a list such as [64, 64]")
    return expected[0].lower() + expected[1:]


def _siblings(location: list[str]) -> Iterable[str]:
    """Return the keys that are allowed where an unknown one was found."""
    if location[:1] == ["search"]:
        return evolvable_hyperparameters() if len(location) == 1 else Gene.model_fields
    section = find_section(RunConfig, *location)
    return section.model_fields if section else ()


def _flatten(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat
