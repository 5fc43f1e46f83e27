"""The shape of the code: sizes, types, documentation, and light imports where they matter."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("evo_core", "tasks", "flows", "deployments", "evolve_rl")
MODULES = [path for package in (*PACKAGES, "benchmarks/arena") for path in sorted((ROOT / package).rglob("*.py"))]

SAME_NAMES = (
    "evolve_rl/",  # an entry point is named after the module that it starts
    "deployments/containers/",  # examples of packages of the user's
    "docs/examples/plugin/",
    "tests/conftest.py",  # pytest's name for fixtures
    "tests/flows/conftest.py",
    "tests/deployments/conftest.py",
)
"""Modules that may have the name of another one."""


def names(path):
    return str(path.relative_to(ROOT))


def functions(path):
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def public(path):
    """Functions and methods that others may call: not underscored, not nested in a function."""
    tree = ast.parse(path.read_text())
    bodies = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))]
    return [
        node
        for body in bodies
        for node in body.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_a_module_has_at_most_300_lines_and_a_function_50(path):
    assert len(path.read_text().splitlines()) <= 300
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path) if f.end_lineno - f.lineno + 1 > 50}
    assert long == {}


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_public_functions_are_typed_and_documented(path):
    for function in public(path):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert untyped == [], function.name
        assert function.returns is not None, function.name
        assert ast.get_docstring(function), function.name


@pytest.mark.parametrize("path", [p for p in MODULES if p.read_text().strip()], ids=names)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_two_modules_share_a_name():
    files = [path for folder in (*PACKAGES, "tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
    named = Counter(path.name for path in files if not names(path).startswith(SAME_NAMES))
    assert [name for name, count in named.items() if name != "__init__.py" and count > 1] == []


def imported_by(code):
    """The packages that are loaded after some code has run in a new Python."""
    script = f"import sys; {code}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_help_imports_neither_torch_nor_prefect():
    code = "import flows.cli.app; flows.cli.app._main(['--help'])"
    assert imported_by(code).isdisjoint({"torch", "prefect", "optuna", "gymnasium", "dask"})


def test_the_process_of_an_environment_does_not_import_torch():
    assert "torch" not in imported_by("from evo_core.envs.gym_vector import AsyncEnvs, _in_process")


def test_the_core_works_without_orchestration_or_storage():
    loaded = imported_by("import evo_core.local")
    assert "torch" in loaded
    assert loaded.isdisjoint({"prefect", "optuna", "fsspec", "s3fs", "dask", "distributed"})


def test_the_core_never_touches_global_generators_or_clocks():
    forbidden = (
        "np.random.seed",
        "torch.manual_seed",
        "import random",
        "import time",
        "datetime",
        "os.environ",
        "hash(",
    )
    for path in (ROOT / "evo_core").rglob("*.py"):
        text = path.read_text().replace("_hash(", "(")
        assert [word for word in forbidden if word in text] == [], path
