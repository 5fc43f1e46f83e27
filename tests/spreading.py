"""How tests are spread over the processes of pytest-xdist (`--dist loadscope`), and what those processes share.

Tests of one module stay together, so that its servers and runs are made once; slow tests that make everything of their
own go wherever a process is free. What takes longest goes first: no process is left alone with a long module.
"""

import json
import os
import pickle
from collections import Counter
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from evo_core.config.run_config import RunConfig
from evo_core.local import RunResult, train_on_policy
from evo_core.records.canonical import sha256

ALONE = "TESTS_ALONE"
"""Names the file that says which tests may go to any process."""

CHEAP = ("oracle", "slower_oracle", "broken", "api", "s3", "_own_environment")
"""Fixtures of modules that are shared anyway, or made in two seconds."""

TOGETHER = {"tests/flows/test_durability.py": "tests/flows/test_evolve.py"}
"""Modules that go to the process of another one, whose run they share."""

_directory: Path | None = None


class Scheduling(LoadScopeScheduling):
    """Keeps the tests of a module together, but for those that may go anywhere.

    (pytest-xdist's own groups, `--dist loadgroup`, are without effect under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return nodeid if nodeid in _alone() else TOGETHER.get(module, module)


@cache
def _alone() -> frozenset[str]:
    """Read which tests may go anywhere; asked once the processes have collected all tests."""
    return frozenset(json.loads(Path(os.environ[ALONE]).read_text()))


def spread(items: list[pytest.Item]) -> None:
    """Order tests, the longest first, and note those that may go to any process."""
    alone = {item.nodeid: _is_slow(item) and not _shares(item) for item in items}
    together = [item for item in items if not alone[item.nodeid]]
    slow, all_of_it = Counter(i.path for i in together if _is_slow(i)), Counter(i.path for i in together)
    first = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}

    def place(item: pytest.Item) -> tuple[int, int, int, int]:
        if alone[item.nodeid]:
            return 1, 0, 0, first[item.path]
        slow_ones = slow[item.path]
        return (0 if slow_ones else 2), -slow_ones, -all_of_it[item.path], first[item.path]

    items.sort(key=place)
    noted = Path(os.environ[ALONE])
    (new := noted.with_suffix(f".{os.getpid()}")).write_text(json.dumps([name for name, own in alone.items() if own]))
    new.rename(noted)


def _is_slow(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("slow", "campaign"))


def _shares(item: pytest.Item) -> bool:
    """Return True if a test uses a costly fixture of its module."""
    assert isinstance(item, pytest.Function)
    definitions = item._fixtureinfo.name2fixturedefs
    return any(found[-1].scope == "module" and name not in CHEAP for name, found in definitions.items())


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
