"""How tests are spread over the processes of pytest-xdist (`--dist loadscope`), and what those processes share.

Tests of one module stay together, so that its servers and runs are made once; slow tests that make everything of their
own go wherever a process is free. What takes longest goes first: no process is left alone with a long module.
"""

import json
import os
import pickle
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from evo_core.config.run_config import RunConfig
from evo_core.local import RunResult, train_on_policy
from evo_core.records.canonical import sha256

SCOPES = "TESTS_SCOPES"
"""Names the file that says which tests go to one process."""

CHEAP = ("oracle", "slower_oracle", "broken", "api", "s3", "_own_environment")
"""Fixtures of modules that are shared anyway, or made in two seconds."""

TOGETHER = {
    "tests/flows/test_durability.py": "tests/flows/test_evolve.py",
    "tests/deployments/test_proxy.py": "tests/deployments/test_hardened.py",
}
"""Modules that go to the process of another one, whose run or server they share."""

PREFECT = "a Prefect server"
"""Scope of the modules that use Prefect's server or commands in forks, if no slow test is among the chosen ones.

Each process that needs them starts both, which takes ten CPU seconds.
"""

LONGEST = (
    PREFECT,
    "tests/evo_core/test_probes.py",
    "tests/deployments/test_hardened.py",
    "tests/flows/test_slots.py",
    "tests/flows/test_export.py",
    "tests/evo_core/test_spaces.py",
    "tests/tasks/test_machine.py",
    "tests/evo_core/test_golden.py",
)
"""What begins first among the fast tests; then come the modules with most tests."""

_directory: Path | None = None


class Scheduling(LoadScopeScheduling):
    """Keeps the tests of a module together, but for those that may go anywhere.

    (pytest-xdist's own groups, `--dist loadgroup`, are without effect under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return _scopes().get(nodeid, nodeid.partition("::")[0])


@cache
def _scopes() -> dict[str, str]:
    """Read which tests go to one process; asked once the processes have collected all tests."""
    scopes: dict[str, str] = json.loads(Path(os.environ[SCOPES]).read_text())
    return scopes


def spread(items: list[pytest.Item]) -> None:
    """Order tests, the longest first, and note which of them go to one process."""
    scopes = _choose_scopes(items)
    alone = {name for name, scope in scopes.items() if name == scope}
    together = [item for item in items if item.nodeid not in alone]
    slow = Counter(scopes[item.nodeid] for item in together if _is_slow(item))
    all_of_it = Counter(scopes[item.nodeid] for item in together)
    first: dict[object, int] = {}
    for number, item in enumerate(items):
        first.setdefault(scopes[item.nodeid], number)
        first.setdefault(item.path, number)

    def place(item: pytest.Item) -> tuple[int, ...]:
        scope = scopes[item.nodeid]
        if item.nodeid in alone:
            return 1, 0, 0, first[item.path]
        if slow[scope]:
            return 0, -slow[scope], -all_of_it[scope], first[scope], first[item.path]
        rank = LONGEST.index(scope) if scope in LONGEST else len(LONGEST)
        return 2, rank, -all_of_it[scope], first[scope], first[item.path]

    items.sort(key=place)
    noted = Path(os.environ[SCOPES])
    (new := noted.with_suffix(f".{os.getpid()}")).write_text(json.dumps(scopes))
    new.rename(noted)


def _choose_scopes(items: list[pytest.Item]) -> dict[str, str]:
    """Return the scope of every test: its own name, if it may go anywhere, or its module, or PREFECT."""
    modules = {item.nodeid: item.nodeid.partition("::")[0] for item in items}
    prefect: set[str] = set()
    if not any(map(_is_slow, items)):
        prefect = {modules[item.nodeid] for item in items if _uses_prefect(item)}
    return {
        item.nodeid: item.nodeid
        if _is_slow(item) and not _shares(item)
        else PREFECT
        if (module := modules[item.nodeid]) in prefect
        else TOGETHER.get(module, module)
        for item in items
    }


def _is_slow(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("slow", "campaign"))


def _shares(item: pytest.Item) -> bool:
    """Return True if a test uses a costly fixture of its module."""
    return any(found[-1].scope == "module" and name not in CHEAP for name, found in _fixtures(item).items())


def _uses_prefect(item: pytest.Item) -> bool:
    return "prefect_url" in _fixtures(item) or hasattr(getattr(item, "module", None), "Cli")


def _fixtures(item: pytest.Item) -> dict[str, Sequence[pytest.FixtureDef[object]]]:
    """Return the definitions of the fixtures that a test uses, by name."""
    return dict(item._fixtureinfo.name2fixturedefs) if isinstance(item, pytest.Function) else {}


def share(factory: pytest.TempPathFactory) -> Path:
    """Choose the directory that all test processes of this session share."""
    global _directory
    own = factory.getbasetemp()
    _directory = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    _directory.mkdir(exist_ok=True)
    return _directory


def undisturbed(config: RunConfig, packages: Collection[str] = ()) -> RunResult:
    """Evolve a configuration in this process, once for all tests that compare with it."""
    assert _directory is not None
    path = _directory / f"{sha256(repr((config.model_dump_json(), sorted(packages))).encode())}.pickle"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            (new := path.with_suffix(".new")).write_bytes(pickle.dumps(train_on_policy(config, packages=packages)))
            new.rename(path)
    found: RunResult = pickle.loads(path.read_bytes())
    return found
