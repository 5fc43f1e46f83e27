"""Generate the reference pages from the code, so that nothing is typed twice.

MkDocs calls `on_page_markdown`, which puts what a function below returns in the place of `<!-- generated: name -->`.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Schema = Mapping[str, Any]
MARKER = re.compile(r"<!-- generated: (\w+) -->")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill the generated parts of a page."""
    return MARKER.sub(lambda match: GENERATED[match[1]](), markdown)


def configuration() -> str:
    """Describe every section of the configuration: fields, types, defaults, ranges, and what may evolve."""
    from evo_core import RunConfig

    schema = RunConfig.model_json_schema()
    names = {name: field for name, field in schema["properties"].items() if "$ref" not in field and name != "search"}
    top = _table("", {"properties": names}, schema["$defs"])
    return "\n\n".join([*_sections(schema, schema["$defs"], ""), f"## The top level\n\n{top}"])


def settings() -> str:
    """Describe every operational setting: environment variable, flag, type, default."""
    from flows.settings import ENV_PREFIX, Settings

    schema, flags = Settings.model_json_schema(), _flags("run")
    rows = []
    for name, field in schema["properties"].items():
        flag = f"--{name.replace('_', '-')}"
        rows.append(
            [
                f"`{ENV_PREFIX}{name.upper()}`",
                f"`{flag}`" if flag in flags else "",
                _kind(field, {}),
                _default(field),
                _described(field),
            ]
        )
    return _rows(["Variable", "Flag", "Type", "Default", "Description"], rows)


def commands() -> str:
    """Describe every command of `evolve`, from the application itself."""
    from flows.cli.app import app

    text = app.generate_docs(output_format="markdown", heading_level=2)
    text = re.sub(r"^(evolve .*?) -m \w+(?= )", r"\1", text, flags=re.M)  # as MkDocs itself was started
    return text.partition("**Commands**:")[2].strip()


def hyperparameters() -> str:
    """List the hyperparameters that may evolve."""
    return ", ".join(f"`{name}`" for name in sorted(_evolvable()))


def benchmarks() -> str:
    """Show the measurements that are committed beside their commands, and the runs of the ready configurations."""
    measured, configs = ((ROOT / "benchmarks" / name).read_text() for name in ("README.md", "configs.md"))
    title, _, runs = configs.partition("\n")
    below = f"#{title.removeprefix('# ').lower().replace(' ', '-')}"
    own = measured.partition("\n")[2].replace("(configs.md)", f"({below})").replace("(arena/README.md)", "(arena.md)")
    own = own.replace("(arena/results/README.md)", "(arena.md#results)")
    return f"{own}\n#{title}\n{runs.replace('## ', '### ')}"


def arena() -> str:
    """Show the rules of the arena."""
    return (ROOT / "benchmarks" / "arena" / "README.md").read_text().partition("\n")[2]


def arena_results() -> str:
    """Show the results of the arena, as committed beside the records."""
    text = (ROOT / "benchmarks" / "arena" / "results" / "README.md").read_text().partition("\n")[2]
    return re.sub(r"^##", "###", text, flags=re.MULTILINE).replace("../../../docs/", "")


GENERATED: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (configuration, settings, commands, hyperparameters, benchmarks, arena, arena_results)
}


def _sections(schema: Schema, definitions: Schema, prefix: str) -> Iterator[str]:
    """Describe the sections below a schema, each with its own table; sections within a section follow it."""
    for name, field in schema["properties"].items():
        inner = field.get("additionalProperties", {}) if name == "search" else field.get("items", field)
        if "$ref" not in inner:
            continue
        section = definitions[inner["$ref"].rpartition("/")[2]]
        depth, path = "#" * (2 + prefix.count(".")), f"{prefix}{name}{'[]' if 'items' in field else ''}"
        lines = [f"{depth} `{path}`", inspect.cleandoc(section.get("description", ""))]
        if name == "search":
            lines.append(f"One entry per hyperparameter that evolves. Known ones: {hyperparameters()}.")
        lines.append(_table("search.NAME." if name == "search" else f"{path}.", section, definitions))
        yield "\n\n".join(lines)
        yield from _sections(section, definitions, f"{path}.")


def _table(prefix: str, section: Schema, definitions: Schema) -> str:
    evolvable = _evolvable() if prefix == "algorithm." else {}
    titles = ["Field", "Type", "Default", "Range", *(["Evolves"] if evolvable else []), "Description"]
    rows = []
    for name, field in section["properties"].items():
        if "$ref" in field:
            continue
        required = name in section.get("required", ())
        rows.append(
            [
                f"`{prefix}{name}`",
                _kind(field, definitions),
                "**required**" if required else _default(field),
                _range(field),
                *([("yes" if name in evolvable else "no")] if evolvable else []),
                _described(field),
            ]
        )
    return _rows(titles, rows)


def _evolvable() -> Mapping[str, type]:
    from evo_core.config.run_config import evolvable_hyperparameters

    return evolvable_hyperparameters()


def _flags(command: str) -> set[str]:
    from flows.cli.app import app

    return {name for argument in app[command].assemble_argument_collection() for name in argument.names}


def _kind(field: Schema, definitions: Schema) -> str:
    """Name the type of a field in words."""
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(option, definitions) for option in field["anyOf"]))
    if "$ref" in field:
        return "mapping"
    match field.get("type"):
        case "integer" | "number" | "null":
            return str(field["type"])
        case "boolean":
            return "`true` or `false`"
        case "array" if "prefixItems" in field:
            return f"`[least, most]`, {_kind(field['prefixItems'][0], definitions)}s"
        case "array":
            return f"list of {_kind(field['items'], definitions)}"
        case "object":
            return "mapping"
    return "text"


def _default(field: Schema) -> str:
    if "unset" in field:
        return str(field["unset"])
    if "default" not in field:
        return "`{}`" if field.get("type") == "object" else "`[]`" if field.get("type") == "array" else ""
    return "" if field["default"] == "" else f"`{json.dumps(field['default'])}`"


def _range(field: Schema) -> str:
    """Write the range of a number, or of each number in a list."""
    from evo_core.config.bounds import describe_range

    inner = next((option for option in field.get("anyOf", ()) if "maximum" in option), field)
    inner = inner["prefixItems"][0] if "prefixItems" in inner else inner.get("items") or inner
    if "maximum" not in inner:
        return f"at most {field['maxItems']} entries" if "maxItems" in field else ""
    above = "exclusiveMinimum" in inner
    return describe_range(inner["exclusiveMinimum" if above else "minimum"], inner["maximum"], above=above)


def _described(field: Schema) -> str:
    """Return the description without the range at its end, which has a column of its own."""
    text, bounds = field.get("description", ""), re.escape(_range(field))
    if bounds:
        text = re.sub(
            rf"(^| ){bounds}; null = ", r"\1`null`: ", re.sub(rf" {bounds}\.$", "", text, flags=re.I), flags=re.I
        )
    return text.replace("|", "\\|").replace("{", "&#123;").replace("<", "&lt;")


def _rows(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
