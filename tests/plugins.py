"""The example plugin package, installed for tests as a user installs it, into a directory of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from evo_core.plugins.installed import forget_offers

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "plugin"


def install_example(shared: Path) -> Path:
    """Return the directory that the example's wheel is installed in, once for all processes of a test session."""
    directory = shared / "example-plugin"
    with FileLock(f"{directory}.lock"):
        if not directory.exists():
            wheels, new = directory.with_suffix(".wheels"), directory.with_suffix(".new")
            build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
            subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
            (wheel,) = wheels.glob("*.whl")
            pip = [sys._base_executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(new)]
            subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
            new.rename(directory)
    return directory


@contextmanager
def importable(directory: Path) -> Iterator[None]:
    """Have the packages of a directory in this process for the body."""
    sys.path.append(str(directory))
    forget_offers()
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        packages = {path.stem for path in directory.iterdir()}
        for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
            del sys.modules[name]
        forget_offers()
