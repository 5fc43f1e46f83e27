"""Show source code in the documentation as it stands in the repository.

A line `<!-- source: evo_core/local.py train_on_policy -->` becomes a block with that function, class or `Class.method`;
`<!-- source: evo_core/local.py -->` the whole file. A name that does not exist fails the build.
"""

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIRECTIVE = re.compile(r"^<!-- source: (\S+)(?: (\S+))? -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every source directive of a page by a block of code; called by MkDocs."""
    return DIRECTIVE.sub(lambda match: block(match[1], match[2]), markdown)


def block(path: str, name: str | None) -> str:
    """Return the named definition of a file as a fenced block with its path as the title."""
    text = (ROOT / path).read_text()
    code = definition(text, name) if name else text
    return f'```python title="{path}"\n{code.rstrip()}\n```'


def definition(text: str, name: str) -> str:
    """Return the source of a function, class or `Class.method`; raise ValueError if there is none of that name."""
    nodes: list[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for part in name.split("."):
        found = next((node for node in nodes if getattr(node, "name", None) == part), None)
        if found is None:
            raise ValueError(f"no {name!r} to show: it was moved or renamed")
        nodes = getattr(found, "body", [])
    assert found is not None
    first = min([found.lineno, *(decorator.lineno for decorator in getattr(found, "decorator_list", []))])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : found.end_lineno]))
