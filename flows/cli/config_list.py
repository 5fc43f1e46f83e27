"""evolve configs: list the ready configurations."""

from flows.cli.arguments import Json
from flows.cli.output import emit
from flows.ready_configs import describe_config, ready_configs


def configs(*, json: Json = False) -> int:
    """List the ready configurations: evolve run --config cartpole."""
    found = {path.stem: path for path in ready_configs()}
    if json:
        emit([{"name": n, "description": describe_config(path), "file": str(path)} for n, path in found.items()])
        return 0
    width = max(map(len, found), default=0)
    for name, path in found.items():
        print(f"{name:<{width}}  {describe_config(path)}")
    return 0
