"""evolve import-agilerl: convert a configuration of AgileRL's PPO."""

import ast
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import gymnasium as gym
from cyclopts import Parameter
from pydantic_core import to_jsonable_python

from evo_core.config.parsing import ConfigError, parse_config
from evo_core.envs.inspection import inspect_environment
from evo_core.envs.making import require_known
from evo_core.importers.agilerl.conversion import Conversion, convert
from flows.cli.arguments import Json
from flows.cli.flags import read_text, read_yaml
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.next_steps import evolve_command
from flows.settings import BadInput
from tasks.yaml_text import dump_yaml

DICTIONARIES = ("init_hp", "mut_p", "mutation_params", "mut_params", "net_config", "hp_config")
"""Names of the dictionaries read from a Python file, by lower-case name."""

LONGEST_EPISODE = 1000
"""Length limit of evaluation episodes if neither the environment nor the file has one."""


def import_agilerl(
    manifest: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(help="File to write [print it].")] = None,
    json: Json = False,
) -> int:
    """Convert a configuration of AgileRL's PPO: a manifest, or INIT_HP, MUTATION_PARAMS and NET_CONFIG.

    YAML, JSON, or Python whose dictionaries have these names; Python is read, not run. Fields without a counterpart and
    changed values are reported.
    """
    if output is not None and output.exists():
        raise BadInput(f"--output {output}: this file exists already; name another one, or delete it")
    converted = convert(_read(manifest))
    _check_environment(converted)
    notes = converted.notes.lines()
    text = _write(manifest, converted, notes)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    elif not json:
        print(text, end="")
    for line in notes:
        print(line, file=sys.stderr)
    if json:
        config = {"config": converted.sections, **asdict(converted.notes)}
        emit(to_jsonable_python(config))
    elif output is not None:
        print(f"{output}: try it with {evolve_command('run', '--dry-run', config=output)}")
    return 0


def _check_environment(converted: Conversion) -> None:
    """Check that the configuration fits its environment; note why not, if the environment is not installed here."""
    packages = read_settings({}).packages
    try:
        require_known(converted.config.env, packages)
    except ConfigError as error:
        _note_unchecked(converted, error)
        return
    _limit_episodes(converted)
    try:
        inspect_environment(parse_config(converted.sections), packages)
    except ConfigError as error:
        if not isinstance(error.__cause__, gym.error.DependencyNotInstalled | ImportError):
            raise
        _note_unchecked(converted, error)


def _note_unchecked(converted: Conversion, error: ConfigError) -> None:
    reasons = (problem.partition("; known: ")[0] for problem in error.problems)
    converted.notes.unchecked.extend(
        f"{reason}; try it with `evolve doctor` where it is installed" for reason in reasons
    )


def _limit_episodes(converted: Conversion) -> None:
    """Set a length limit of evaluation episodes if there is none, because AgileRL plays until every environment
    ends."""
    evaluation = converted.sections["evaluation"]
    limit = gym.spec(converted.config.env.id).max_episode_steps
    if limit is None and converted.config.evaluation.max_steps is None and isinstance(evaluation, dict):
        evaluation["max_steps"] = LONGEST_EPISODE
        converted.notes.imply("evaluation.max_steps", LONGEST_EPISODE, "the environment has no time limit of its own")


def _write(path: Path, converted: Conversion, notes: list[str]) -> str:
    """Format the configuration as YAML, with dropped and changed fields as comments above it."""
    head = [f"Converted from {path.name} by `evolve import-agilerl`.", *notes]
    comments = "".join(f"# {' '.join(line.split())}\n" for line in head)
    plain = to_jsonable_python(converted.sections)
    return f"{comments}\n{dump_yaml(plain)}"


def _read(path: Path) -> dict[str, object]:
    if path.suffix != ".py":
        return read_yaml(path, expected="sections such as algorithm: or INIT_HP:")
    text = read_text(path)
    try:
        tree = ast.parse(text)
        return {
            target.id: _literal(path, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id.lower() in DICTIONARIES
        }
    except ConfigError:
        raise
    except (SyntaxError, ValueError, TypeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from None
    except (RecursionError, MemoryError):
        raise ConfigError([f"{path}: cannot be read: nested too deep"]) from None


def _literal(path: Path, node: ast.expr) -> object:
    """Read a literal; HyperparameterConfig(lr=RLParameter(min=…, max=…)) and the like are read as dictionaries."""
    match node:
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {_literal(path, key): _literal(path, value) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(path, item) for item in items]
        case ast.Call(keywords=keywords, args=[]) if all(keyword.arg for keyword in keywords):
            return {str(keyword.arg): _literal(path, keyword.value) for keyword in keywords}
        case ast.Name(id=name):
            return name
        case _:
            try:
                return ast.literal_eval(node)
            except ValueError:
                what = f"expected a plain value, got {ast.unparse(node)}; write its value there"
                raise ConfigError([f"{path}, line {node.lineno}: {what}"]) from None
