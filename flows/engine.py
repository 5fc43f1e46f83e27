"""The engine: Dask, opened once for a whole run, so that no generation waits for processes to start."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import dask
from distributed import Client, LocalCluster
from prefect_dask import DaskTaskRunner

from evo_core.loading import ConfigError
from flows.settings import Settings
from tasks.members import PROGRESS_TOPIC

Progress = Callable[[str, int], None]
"""Called with a member's uid and the environment steps it has made in its generation."""


@contextmanager
def open_engine(settings: Settings, members: int, on_progress: Progress) -> Iterator[DaskTaskRunner]:
    """Open a local cluster, one single-threaded process per core, or connect to an existing scheduler.

    Yields a task runner that every generation can use. Processes that were started here end here.
    """
    if settings.engine != "local":
        _check_reachable_store(settings)
        with _listening(settings.engine, on_progress):
            yield DaskTaskRunner(address=settings.engine)
        return
    with (
        dask.config.set({"distributed.worker.daemon": True, "distributed.admin.log-format": "%(message)s"}),
        LocalCluster(
            n_workers=settings.worker_count(members),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs="ERROR",
        ) as cluster,
        _listening(cluster.scheduler_address, on_progress),
    ):
        yield DaskTaskRunner(address=cluster.scheduler_address)


@contextmanager
def _listening(address: str, on_progress: Progress) -> Iterator[None]:
    """Pass on what workers say of their members."""
    with Client(address, set_as_default=False) as client:
        client.subscribe_topic(PROGRESS_TOPIC, lambda event: on_progress(event[1]["uid"], event[1]["steps"]))
        yield


def _check_reachable_store(settings: Settings) -> None:
    """Refuse what workers on other machines could not reach."""
    host = urlsplit(settings.engine).hostname or ""
    if settings.store_url.startswith("file:") and not _is_this_machine(host):
        raise ConfigError(
            [
                f"store {settings.store_url}: workers of {settings.engine} run on other machines and cannot reach a "
                "directory of this one; use --store s3://…"
            ]
        )


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1", socket.gethostname())
