"""The entry point of the command line: the commands of flows/cli/app.py, and those that run the service."""

from typing import Annotated

from cyclopts import Parameter

from evo_core.config.bounds import MOST_WORKERS
from flows.cli.app import app, main
from flows.cli.arguments import DEFAULTS, Json, Operational, Store, number

__all__ = ["main"]


@app.command
def deploy(
    *,
    store: Store = None,
    limit: Annotated[
        int | None, number("Flow runs that the pool may run at a time [as it is].", 1, MOST_WORKERS)
    ] = None,
    gpu_slots: Annotated[
        int | None, number("Members that may learn on GPUs at a time, over all runs [as it is].", 1, MOST_WORKERS)
    ] = None,
    json: Json = False,
) -> int:
    """Register deployments, work pool, limits and automations with the Prefect server at PREFECT_API_URL.

    Run it once, and after every update: existing objects are updated.
    """
    from deployments.commands import register_all

    return register_all(store, limit, gpu_slots, json=json)


@app.command
def serve(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, number("Port to listen on.", 1, 65_535)] = 4200,
    origin: Annotated[
        str | None,
        Parameter(help="Where browsers open the UI, behind a proxy: https://evolve.example.org [host, port]."),
    ] = None,
    limit: Annotated[int, number("Runs at a time.", 1, MOST_WORKERS)] = 1,
    no_auth: Annotated[
        bool,
        Parameter(negative="", help="Ask nobody for an auth string, on loopback: every local account may run code."),
    ] = False,
    operational: Operational = DEFAULTS,
) -> int:
    """Serve the Prefect UI: server, deployments and a worker in one command, until Ctrl-C."""
    from dataclasses import asdict

    from deployments.service import serve as start
    from flows.cli.run import read_settings

    return start(read_settings(asdict(operational)), host, port, origin, limit, no_auth=no_auth)
