"""Lost connections to Prefect and Dask print neither dumps nor tracebacks; other errors are still shown."""

import logging

import pytest
from distributed import Client, LocalCluster
from distributed.core import rpc
from prefect._internal.concurrency.services import QueueService
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.logs import lost_connections
from tasks.logs.lost_connections import silence_lost_connections

NOBODY = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def silenced(monkeypatch):
    monkeypatch.setattr(APILogWorker, "_handle_batch", APILogWorker._handle_batch)  # as it was, afterwards
    silence_lost_connections()
    yield
    for name, each in lost_connections._FILTERS.items():
        logging.getLogger(name).removeFilter(each)


@pytest.fixture
def logged():
    """Return the records that reach the handlers of the loggers."""
    records = []

    class Handler(logging.Handler):
        def emit(self, record):
            records.append(self.format(record))

    handler = Handler(logging.ERROR)
    loggers = [logging.getLogger(name) for name in lost_connections._FILTERS]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


class Service(QueueService):
    """Raises the exceptions that it is sent."""

    async def _handle(self, item):
        raise item[0]


def test_events_that_cannot_be_sent_are_not_dumped_and_other_failures_are_short(logged):
    for error in (ConnectionRefusedError("nobody there"), ValueError("not an event")):
        Service.instance().send((error, "a long event"))
    Service.drain_all(timeout=10)
    assert logged == ["Service 'Service' failed: ValueError: not an event"]


def test_logs_that_cannot_be_sent_leave_nothing_on_standard_error(capfd):
    with temporary_settings({PREFECT_API_URL: f"http://{NOBODY}/api"}):
        APILogWorker.instance().send({"message": "hello"})
        APILogWorker.drain_all(timeout=10)
    assert capfd.readouterr().err == ""


def test_failed_broadcasts_and_heartbeats_are_silent_and_other_errors_are_not(logged):
    async def broadcast(dask_scheduler):
        await dask_scheduler.broadcast(msg={"op": "ping"}, workers=[f"tcp://{NOBODY}"], on_error="ignore")

    async def heartbeat(dask_worker):
        kept, dask_worker.scheduler = dask_worker.scheduler, rpc(f"tcp://{NOBODY}", timeout=0.2)
        await dask_worker.heartbeat()
        await dask_worker.scheduler.close_rpc()
        dask_worker.scheduler = kept
        logging.getLogger("distributed.worker").error("disk full")

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        cluster.scheduler.rpc.timeout = 0.2
        client.run_on_scheduler(broadcast)
        client.run(heartbeat)
    assert logged == ["disk full"]
