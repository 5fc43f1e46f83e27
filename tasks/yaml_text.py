"""YAML 1.2: reading with limits, and writing text that YAML 1.1 parsers read alike.

Scalars are those of YAML 1.2 (`1e-3` and `.5e3` are numbers, `010` is ten, `0o10` eight, `yes` and dates are strings),
and underscores may group digits (`1_500_000`). A number without a decimal point is an integer if its value is one:
`1e3` is 1000, and `1000.0` a float.
"""

import re
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver, implicit_resolvers

from evo_core.config.bounds import SAFE_INTEGER
from evo_core.config.parsing import ConfigError

MOST_CHARACTERS = 100_000
MOST_DEPTH = 32
"""Maximum nesting depth of lists and mappings."""

MOST_VALUES = 50_000
"""Maximum number of values in total; values repeated by aliases count each time."""

_TAG = "tag:yaml.org,2002:"
_NOT_CORE = {f"{_TAG}timestamp", f"{_TAG}value"}
"""Tags of plain scalars that YAML 1.2 does not have."""

_POINT_FIRST = re.compile(r"^[-+]?\.[0-9][0-9_]*[eE][-+]?[0-9]+$")
_WHOLE = re.compile(r"^([-+]?)([0-9]+)[eE]\+?([0-9]{1,2})$")


def load_yaml(text: str, wrong: str) -> object:
    """Parse one document. ConfigError, prefixed with `wrong`, gives the position of a fault or the limit exceeded."""
    if len(text) > MOST_CHARACTERS:
        raise ConfigError([f"{wrong}: expected at most {MOST_CHARACTERS} characters, got {len(text)}"])
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor, yaml.Resolver = _Composer, _Constructor, _Resolver
    try:
        content: object = yaml.load(text)
    except YAMLError as error:
        raise ConfigError([f"{wrong}: {_where(error)}"]) from None
    return content


def dump_yaml(content: object) -> str:
    """Serialize plain values in block style."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style, yaml.allow_unicode = False, True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # annotated as None alone
    stream = StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


class _Composer(Composer):
    """Composer that counts values and nesting, and rejects too many before anything is constructed."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False
        self._nested = self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        before, self._nested = self._values, self._nested + 1
        if self._nested > MOST_DEPTH:
            raise _problem(f"nested too deep: expected at most {MOST_DEPTH} levels", event)
        alias = isinstance(event, AliasEvent)
        node = super().compose_node(parent, index)
        if not alias:
            self._values += 1
            self._sizes[id(node)] = self._values - before
        elif id(node) in self._sizes:
            self._values += self._sizes[id(node)]
        else:
            raise _problem(
                f"*{event.anchor} refers to a value that contains it; recursive aliases are not supported", event
            )
        if self._values > MOST_VALUES:
            raise _problem(f"expected at most {MOST_VALUES} values, those that aliases repeat included", event)
        self._nested -= 1
        return node


class _Constructor(SafeConstructor):
    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            raise _problem(f"{key!r} is given twice", key_node)
        return True

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, IndexError, KeyError) as error:  # text that does not fit its tag, thousands of digits
            if not isinstance(node, ScalarNode):
                raise
            kind = str(node.tag).removeprefix(_TAG)
            raise _problem(f"expected what !!{kind} stands for, got {str(node.value)[:80]!r}", node) from error

    def construct_yaml_float(self, node: Any) -> Any:
        found = _WHOLE.match(str(self.construct_scalar(node)).replace("_", ""))
        if found and abs(whole := int(found[1] + found[2]) * 10 ** int(found[3])) <= SAFE_INTEGER:
            return whole
        return super().construct_yaml_float(node)


_Constructor.add_constructor(f"{_TAG}float", _Constructor.construct_yaml_float)


class _Resolver(VersionedResolver):
    def add_version_implicit_resolver(self, version: Any, tag: Any, regexp: Any, first: Any) -> None:
        if tag in _NOT_CORE:
            return
        super().add_version_implicit_resolver(version, tag, regexp, first)
        if tag == f"{_TAG}float":
            super().add_version_implicit_resolver(version, tag, _POINT_FIRST, [*"-+."])


class _Representer(SafeRepresenter):
    def represent_str(self, data: str) -> Any:
        plain = not any(regexp.match(data) for _, _, regexp, _ in implicit_resolvers) and not _POINT_FIRST.match(data)
        return self.represent_scalar(f"{_TAG}str", data, style=None if plain else "'")

    def represent_float(self, data: float) -> Any:
        node = super().represent_float(data)
        if "." not in node.value:
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(str, _Representer.represent_str)
_Representer.add_representer(float, _Representer.represent_float)


def _problem(said: str, where: Any) -> MarkedYAMLError:
    return MarkedYAMLError(problem=said, problem_mark=where.start_mark)


def _where(error: YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    if problem.startswith("but "):
        problem = f"{getattr(error, 'context', '')}, {problem}"
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem
