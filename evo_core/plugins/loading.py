"""Loading of plugins by name, and importing the modules that a configuration names as package.module:Name."""

import sys
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from evo_core.plugins.installed import OF_MODULE, Offer, describe_offers, doubtful, offers, package_of
from evo_core.plugins.kinds import PluginKind


class PluginError(ValueError):
    """Raised for a plugin that cannot be used: not installed, not allowed, or not what its kind must be."""


class MissingPlugin(PluginError):
    """Raised for a plugin that is not installed here. `name` is the plugin's."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def load(kind: PluginKind, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Create a plugin by its name, with keyword arguments; PluginError says why it cannot be used.

    A module of the name package.module:Name must have been imported before, because it was allowed (`import_allowed`):
    names in stored records and checkpoints import nothing.
    """
    if ":" in name:
        found = _of_module(kind, name)
    elif (offer := offers(kind).get(name)) is not None:
        found = _offered(kind, name, offer)
    else:
        raise MissingPlugin(_not_installed(kind, name), name)
    return _created(kind, name, found, dict(options or {}))


def not_allowed(name: str, packages: Collection[str]) -> str | None:
    """Return why the module of a name package.module:Name may not be imported; None if it may."""
    module = name.partition(":")[0]
    if any(module == package or module.startswith(f"{package}.") for package in packages):
        return None
    package = module.partition(".")[0]
    allowed = ", ".join(sorted(packages)) or "none"
    return (
        f"package {package} is not allowed here (allowed: {allowed}), so it was not imported; the "
        f"operator can allow it by EVOLVE_ENV_PACKAGES={package}"
    )


def import_module_of(name: str) -> None:
    """Import the module of a name package.module:Name that is allowed; PluginError says what is missing."""
    module = name.partition(":")[0]
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        is_its_own = f"{module}.".startswith(f"{missing}.")
        advice = _how_to_find(missing) if is_its_own else f"install what {module} needs (pip install), on every worker"
        raise PluginError(f"{error}; {advice}") from error
    except (Exception, SystemExit) as error:  # importing a module raises any exception
        raise PluginError(f"importing {module}: {type(error).__name__}: {error}") from error


def import_allowed(kind: PluginKind, name: str, packages: Collection[str]) -> None:
    """Import the module of a plugin named package.module:Name, if it is allowed; installed plugins always are."""
    if ":" not in name:
        return
    if not OF_MODULE.fullmatch(name):
        raise PluginError(f"expected the name of {_a(kind.noun)}, or package.module:Name")
    if reason := not_allowed(name, packages):
        raise PluginError(reason)
    import_module_of(name)


def _of_module(kind: PluginKind, name: str) -> Any:
    module, _, attribute = name.partition(":")
    if (imported := sys.modules.get(module)) is None:
        raise MissingPlugin(
            f"{kind.noun} {name}: {module} was not imported. Where a run or an agent is loaded by its name, the module "
            f"must be allowed (EVOLVE_ENV_PACKAGES={module.partition('.')[0]}), or imported before by your own code",
            name,
        )
    if not hasattr(imported, attribute):
        raise PluginError(f"{kind.noun} {name}: {module} has no {attribute}")
    return getattr(imported, attribute)


def _offered(kind: PluginKind, name: str, offer: Offer) -> Any:
    try:
        return offer.entry.load()
    except (Exception, SystemExit) as error:  # importing a module raises any exception
        said = f"importing {offer.entry.value}: {type(error).__name__}: {error}"
        raise PluginError(f"{kind.noun} {name} ({offer.package}): {said}") from error


def _created(kind: PluginKind, name: str, found: Any, options: dict[str, Any]) -> Any:
    """Call a class with its options; require the method of its kind."""
    shown = f"{kind.noun} {name} ({package_of(kind, name) or 'of no installed package'})"
    if not callable(getattr(found, kind.method, None)):
        raise PluginError(f"{shown}: expected a class with a method {kind.method}, got {found!r:.200}")
    if not isinstance(found, type) and kind.method == "__call__":
        return found
    if not isinstance(found, type):
        raise PluginError(f"{shown}: expected a class, got {found!r:.200}; name its class")
    try:
        return found(**options)
    except Exception as error:  # constructors raise any exception
        given = f" with options {options}" if options else ""
        raise PluginError(f"{shown}{given}: {type(error).__name__}: {error}") from error


def _not_installed(kind: PluginKind, name: str) -> str:
    if reason := doubtful(kind).get(name):
        return f"{kind.noun} {name}: {reason}"
    known = describe_offers(kind) or "none"
    return f"{kind.noun} {name} is not installed here (installed: {known}); install the package that offers it"


def _how_to_find(module: str) -> str:
    here = Path.cwd()
    searched = "is" if {"", str(here)} & set(sys.path) else "is not"
    return (
        f"{module} is neither installed, nor in a directory of PYTHONPATH or EVOLVE_ENV_PATH (the working directory "
        f"{here} {searched} searched). Install it (pip install), or name the directory that holds it, such as that of "
        "the configuration file: --env-path DIRECTORY, EVOLVE_ENV_PATH or PYTHONPATH; on every machine with workers"
    )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
