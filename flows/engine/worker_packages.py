"""Make a cluster import our packages, where its directories hold modules of the user's with the same names."""

from typing import Any

from distributed import Client, WorkerPlugin

from evo_core import installation


def prefer_own_packages_on_workers(client: Client) -> None:
    """Make a scheduler and its workers, including later ones, search this installation before such directories.

    Processes started by `python -m distributed.cli.…`, as job queues do, search their working directory first.
    """

    class OwnPackages(WorkerPlugin):  # local, so that it is sent as code: `flows` might be the user's there
        name = "evolve-packages"

        def setup(self, worker: Any) -> None:
            from evo_core.installation import prefer_own_packages

            prefer_own_packages()

    client.run_on_scheduler(installation.prefer_own_packages)  # which loads tasks too
    client.register_plugin(OwnPackages())
