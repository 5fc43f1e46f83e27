"""Optional packages that only some commands need."""

from importlib.util import find_spec

from flows.settings import BadInput


def require_extra(extra: str, *modules: str) -> None:
    """Raise BadInput that names the extra unless all modules can be imported."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise BadInput(f"this needs {', '.join(missing)}, not installed here: pip install 'evolve-rl[{extra}]'")
