"""The public names of evo_core: complete, unique, and imported only when used."""

import ast
from pathlib import Path

import pytest

import evo_core


def test_public_names_their_homes_and_their_types_agree():
    tree = ast.parse(Path(evo_core.__file__).read_text())
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(evo_core.__all__) == set(evo_core._HOME) == typed - {"TYPE_CHECKING", "import_module"}
    for name in evo_core.__all__:
        assert getattr(evo_core, name).__name__ == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="train_on_policy"):
        evo_core.nothing  # noqa: B018


def test_a_notebook_completes_public_names():
    assert set(evo_core.__all__) <= set(dir(evo_core))
