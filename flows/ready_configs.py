"""Ready configurations, which are installed with the packages and are named without a path: --config cartpole."""

from pathlib import Path

from evo_core.config.parsing import ConfigError, did_you_mean
from evo_core.installation import ROOT

DIRECTORY = ROOT / "deployments" / "configs"


def find_config(given: Path) -> Path:
    """Return the file that `--config` means: that file if it exists, else the ready configuration of this name.

    A path that is not just a name is returned as it is. Raise ConfigError for a name that is neither.
    """
    name = str(given)
    if given.is_file() or given.suffix or len(given.parts) != 1:
        return given
    ready = {path.stem: path for path in ready_configs()}
    if name not in ready:
        raise ConfigError([f"--config {name}: neither a file nor a ready configuration; {did_you_mean(name, ready)}"])
    return ready[name]


def ready_configs() -> list[Path]:
    """Return the files of all ready configurations, by name."""
    return sorted(DIRECTORY.glob("*.yaml"))


def describe_config(path: Path) -> str:
    """Return a configuration's description: the comment in its first line."""
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
