"""evolve configs: list the ready configurations."""

from flows.cli.output import emit
from flows.ready_configs import describe_config, ready_configs


def list_configs(*, json: bool) -> int:
    """Print the name and description of every ready configuration."""
    found = {path.stem: path for path in ready_configs()}
    if json:
        emit([{"name": n, "description": describe_config(path), "file": str(path)} for n, path in found.items()])
        return 0
    width = max(map(len, found), default=0)
    for name, path in found.items():
        print(f"{name:<{width}}  {describe_config(path)}")
    return 0
