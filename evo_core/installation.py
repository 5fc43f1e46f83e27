"""Make sure that the packages of this installation are used, and not modules of the user's with the same names."""

import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).absolute().parents[1].resolve()  # its files may be links, as some installers make them
"""The directory that holds the packages: site-packages, or a checkout."""

PACKAGES = ("evo_core", "tasks", "flows", "deployments", "evolve_rl")
"""Names that are installed; the user's own modules may have them too."""


class ShadowedError(ImportError):
    """A module of the user's has the name of one of these packages, and was imported in its place."""


def prefer_own_packages(search_path: list[str] | None = None) -> None:
    """Move directories that hold modules with the names of these packages behind this installation.

    `search_path` is changed in place; by default it is this process's. Everything in these directories is still found.
    """
    path = sys.path if search_path is None else search_path
    own = next((place for place, entry in enumerate(path) if Path(entry).resolve() == ROOT), None)
    before = path[:own]
    hiding = [entry for entry in before if Path(entry).resolve() != ROOT and _holds_ours(entry)]
    if own is None:
        path[:] = [entry for entry in before if entry not in hiding] + [str(ROOT), *hiding]
    elif hiding:
        path[:] = [entry for entry in before if entry not in hiding] + [path[own], *hiding] + path[own + 1 :]


def require_own_packages(imported: Mapping[str, ModuleType] | None = None) -> None:
    """Raise ShadowedError if a package of this installation was imported, or would be, from another directory."""
    modules = sys.modules if imported is None else imported
    for name in PACKAGES:
        if name in modules:
            verb, found = "was imported from", _file_of(modules[name])
        else:
            spec = importlib.util.find_spec(name)
            verb, found = "would be imported from", spec.origin if spec else None
        if found is None or not _is_ours(Path(found), name):
            raise ShadowedError(_advice(name, verb, found), name=name, path=found)


def check_package_names(packages: str) -> str:
    """Return names of modules, separated by commas; raise ValueError if one of them is the name of our package."""
    for package in packages.split(","):
        if (name := package.strip().partition(".")[0]) in PACKAGES:
            raise ValueError(
                f"got {package.strip()}, but {name} is a package of evolve, so a module of yours with this name cannot "
                f"be imported beside it; rename yours (my_{name}, for instance), and name that"
            )
    return packages


def _is_ours(file: Path, name: str) -> bool:
    directory = file.absolute().parent
    return directory.name == name and directory.parent.resolve() == ROOT


def _holds_ours(entry: str) -> bool:
    """Return True if a directory has a module with a name of ours; a directory without __init__.py shadows nothing."""
    specs = (PathFinder.find_spec(name, [entry]) for name in PACKAGES)
    return any(spec is not None and spec.origin is not None for spec in specs)


def _file_of(module: ModuleType) -> str | None:
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)


def _advice(name: str, verb: str, found: str | None) -> str:
    ours = ROOT / name
    if found is None:
        return f"{name}: expected the package {ours}, and found none; install evolve-rl again (pip install)"
    path = Path(found)
    theirs = path.parent if path.name == "__init__.py" else path
    return (
        f"{name} {verb} {theirs}, but evolve needs its own package {ours}. Rename {theirs} (my_{theirs.name}, for "
        f"instance), or take {theirs.parent} off sys.path and PYTHONPATH; then restart this program"
    )
