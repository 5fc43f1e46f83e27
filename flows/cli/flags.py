"""Configuration flags: every field of RunConfig by its dotted name, such as --algorithm.lr 3e-4."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from evo_core.config.nested_fields import leaf_fields
from evo_core.config.parsing import ConfigError, parse_config
from evo_core.config.run_config import RunConfig
from evo_core.plugins.installed import describe_offers
from evo_core.plugins.kinds import PLUGIN_KINDS
from flows.ready_configs import find_config
from tasks.yaml_text import MOST_CHARACTERS, load_yaml

Sections = dict[str, object]
"""A parsed file."""


def split_flags(tokens: Sequence[str]) -> tuple[list[str], dict[str, object]]:
    """Separate configuration flags (a dot in the name, or --seed) from the command's own; values are read as YAML."""
    own: list[str] = []
    overrides: dict[str, object] = {}
    remaining = iter(tokens)
    for token in remaining:
        name, equals, value = token.partition("=")
        if not _is_config_flag(name):
            own.append(token)
            continue
        if not equals:
            value = next(remaining, "")
        if not value:
            raise ConfigError([f"{name}: expected a value after it, such as {name} 3"])
        overrides[name.removeprefix("--").replace("-", "_")] = _parse(name, value)
    return own, overrides


def load_config(path: Path | None, overrides: Mapping[str, object]) -> RunConfig:
    """Read a configuration file and apply flags; ConfigError lists the problems."""
    return parse_config(read_yaml(find_config(path), "--config ") if path else {}, overrides)


def describe_flags() -> str:
    """List every configuration flag with its default and description, and the installed plugins."""
    rows = [_row(name, field) for name, field in leaf_fields(RunConfig, "--")]
    plugins = [(kind.noun, describe_offers(kind) or "none") for kind in PLUGIN_KINDS]
    titles = {"Configuration (flags override the file):": rows, "Installed plugins, by their kind:": plugins}
    width = max(len(flag) for flag, _ in rows)
    return "\n".join(
        line for title, lines in titles.items() for line in (title, *(f"  {f:<{width}}  {text}" for f, text in lines))
    )


def _is_config_flag(name: str) -> bool:
    return name.startswith("--") and ("." in name or name == "--seed")


def _parse(name: str, text: str) -> object:
    return load_yaml(text, f"{name}: expected a YAML value, got {text[:80]!r}")


def read_yaml(
    path: Path, given_as: str = "", expected: str = "sections such as env: and training:"
) -> dict[str, object]:
    """Read a YAML file of sections; ConfigError names the position of an error. `given_as` is the flag of the file."""
    content = load_yaml(read_text(path, given_as), f"{given_as}{path}: not YAML")
    if not isinstance(content, dict):
        raise ConfigError([f"{given_as}{path}: expected {expected}, got {str(content)[:80]}"])
    return content


def read_text(path: Path, given_as: str = "", most: int = MOST_CHARACTERS) -> str:
    """Read a file of limited length; ConfigError says why it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(most + 1)
    except FileNotFoundError:
        raise ConfigError([f"{given_as}{path}: there is no such file"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{given_as}{path}: cannot be read: {error}"]) from None
    if len(text) > most:
        raise ConfigError([f"{given_as}{path}: expected at most {most} characters, got more"])
    return text


def _row(name: str, field: FieldInfo) -> tuple[str, str]:
    required = field.is_required()
    default = "required" if required else f"default {_shown(field.get_default(call_default_factory=True))}"
    return name, f"{field.description} [{default}]"


def _shown(default: object) -> str:
    """Format a default value as YAML."""
    return json.dumps(to_jsonable_python(default))
