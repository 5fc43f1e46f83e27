"""Commands whose modules are imported only when they run."""

import ast
from importlib.util import find_spec
from pathlib import Path

from cyclopts import App


def register(app: App, name: str, command: str) -> None:
    """Register the function `module:function` as a command, with its docstring as help."""
    app.command(command, name=name, help=_docstring(command))


def _docstring(command: str) -> str:
    """Read the docstring of a command without importing its module."""
    module, _, function = command.partition(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    found = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == function)
    return ast.get_docstring(found) or ""
