"""Number and environment of a machine's workers, and how runs share its GPUs."""

import asyncio
import itertools
import json
import os
import signal
import ssl
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import pairwise

import dask
import pytest
import torch
from distributed import Client, Scheduler, SpecCluster
from distributed.comm import CommClosedError, connect
from distributed.deploy.spec import ProcessInterface
from distributed.scheduler import KilledWorker
from prefect.client.orchestration import get_client

from flows.cli.doctor import doctor
from flows.engine import worker_monitor as keeper_module
from flows.engine.clusters import SlotCluster, open_cluster, open_local, request_workers
from flows.engine.worker_monitor import WorkerMonitor, list_workers
from flows.settings import BadInput, Failed, Settings
from flows.slots import Slot, least_used, limit_gpu_slots, place, visible_gpus
from tasks.worker.limits import Limits
from tasks.worker.watchdog import ended_topic, watched
from tests.conftest import make_config
from tests.flows.conftest import descendants, kill_all, workers_of
from tests.services import wait_for
from tests.spreading import undisturbed

MIG = "MIG-11111111-2222-3333-4444-555555555555", "MIG-66666666-7777-8888-9999-000000000000"


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        (None, 0, ()),
        (None, 4, ("0", "1", "2", "3")),
        ("2,3", 2, ("2", "3")),
        ("2, 3", 2, ("2", "3")),
        ("", 0, ()),
        ("-1", 0, ()),
        ("0,-1,1", 1, ("0",)),
        ("0,9", 1, ("0",)),
        ("GPU-8f2a,GPU-11bc", 2, ("GPU-8f2a", "GPU-11bc")),
        (",".join(MIG), 1, MIG),
        (",".join(MIG), 0, ()),
    ],
)
def test_visible_gpus_are_those_that_cuda_leaves_to_this_process(visible, count, names):
    assert visible_gpus(visible, count) == names


def devices(slots):
    return [slot.environment.get("CUDA_VISIBLE_DEVICES") for slot in slots]


@pytest.mark.parametrize(
    ("workers", "members", "cores", "gpus", "expected"),
    [
        (None, 6, 2, (), [None] * 2),
        (None, 3, 16, (), [None] * 3),
        (5, 6, 2, (), [None] * 5),
        (None, 6, 16, ("0",), ["0"]),
        (None, 6, 2, ("0", "1", "2", "3"), ["0", "1", "2", "3"]),
        (8, 12, 2, ("0", "1", "2", "3"), ["0", "1", "2", "3", "0", "1", "2", "3"]),
        (8, 6, 2, ("0", "1", "2", "3"), ["0", "1", "2", "3", "0", "1"]),
        (2, 6, 2, ("GPU-a", "GPU-b", "GPU-c"), ["GPU-a", "GPU-b"]),
        (None, 6, 2, MIG, list(MIG)),
    ],
)
def test_one_setting_decides_how_many_workers_there_are_and_which_gpu_each_sees(
    workers, members, cores, gpus, expected
):
    slots = place(workers, members, cores, gpus)
    assert devices(slots) == expected
    assert {slot.resources.get("GPU") for slot in slots} == {1 if gpus else None}


def test_a_new_worker_takes_the_slot_of_the_one_that_is_missing():
    slots = place(5, 9, 2, ("0", "1"))
    assert devices(slots) == ["0", "1", "0", "1", "0"]
    taken: list[Slot] = []
    for _ in range(5):
        taken.append(least_used(slots, taken))
    assert Counter(devices(taken)) == {"0": 3, "1": 2}
    for gone in range(5):
        rest = [*taken[:gone], *taken[gone + 1 :]]
        assert devices([least_used(slots, rest)]) == devices([taken[gone]])


def test_slots_follow_the_device_and_the_setting(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert devices(Settings(device="auto").slots(6)) == ["GPU-a", "GPU-b"]
    assert devices(Settings(device="cuda", workers="3").slots(6)) == ["GPU-a", "GPU-b", "GPU-a"]
    assert devices(Settings(device="cuda", workers="1..4").slots(6)) == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]
    assert devices(Settings(device="cpu", workers=1).slots(6)) == [None]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices(Settings(device="cuda").slots(6)) == ["0", "1"]


@contextmanager
def kept_cluster(slots, *, quiet=True):
    told: list[str] = []
    patient = pytest.MonkeyPatch.context()  # on a busy machine a worker takes longer to start than a run waits silently
    with patient as patch, open_local(slots) as cluster, Client(cluster, set_as_default=False) as client:
        patch.setattr(keeper_module, "PATIENCE_S", 60.0)
        request_workers(cluster, len(slots))
        yield client, WorkerMonitor(client, cluster, told.append)
    assert not quiet or told == []


def test_every_worker_process_gets_its_own_environment_and_after_it_died_the_same_again():
    with kept_cluster(place(2, 2, 2, ("GPU-a", "MIG-b"))) as (client, monitor), monitor.running():
        client.wait_for_workers(2)
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["GPU-a", "MIG-b"]
        assert {worker["resources"]["GPU"] for worker in list_workers(client).values()} == {1}
        address = next(address for address, device in seen.items() if device == "MIG-b")
        os.kill(client.run(os.getpid)[address], signal.SIGKILL)
        wait_for(lambda: address not in (there := list_workers(client)) and len(there) == 2)

        def same_again():
            with suppress(CommClosedError):  # the lost one may be asked once more
                return sorted(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["GPU-a", "MIG-b"]
            return False

        wait_for(same_again)


async def ask(address, **connection):
    """Ask a scheduler or worker for its identity, the first message of every client."""
    comm = await connect(address, timeout=5, **connection)
    try:
        await comm.write({"op": "identity", "reply": True})
        return (await comm.read())["type"]
    finally:
        await comm.close()


def test_other_local_users_cannot_talk_to_a_local_cluster():
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    with open_local(place(1, 1, 2, ())) as cluster:
        request_workers(cluster, 1)
        with Client(cluster, set_as_default=False) as client:
            assert client.submit(os.getpid).result(timeout=120) != os.getpid()
            (worker,) = list_workers(client)
        own = cluster.security.get_connection_args("client")
        for address, kind in ((cluster.scheduler_address, "Scheduler"), (worker, "Worker")):
            assert asyncio.run(ask(address, **own)) == kind
            with pytest.raises(OSError):
                asyncio.run(ask(address.replace("tls://", "tcp://")))
            with pytest.raises(OSError):
                asyncio.run(ask(address, ssl_context=stranger))


def test_a_worker_killed_during_its_start_is_restarted():
    before = workers_of(os.getpid())
    killed: list[int] = []

    def kill_the_first():
        wait_for(lambda: workers_of(os.getpid()) - before, interval_s=0.2)
        killed.extend(workers_of(os.getpid()) - before)
        os.kill(killed[0], signal.SIGKILL)

    with kept_cluster(place(1, 1, 2, ())) as (client, monitor):
        killer = threading.Thread(target=kill_the_first)
        killer.start()
        with monitor.running():
            assert client.submit(os.getpid).result(timeout=120) not in killed
        killer.join()
    assert len(killed) == 1


def test_a_worker_that_dask_gave_up_is_restarted():
    """Dask looks once whether a lost worker is back; one that dies again just before is closed for good.

    Its nanny may have started a third one by then, which is closed too: on a busy machine the run waits long enough for
    a warning, and asks Dask twice for a result.
    """
    seldom_there = dask.config.set({"distributed.deploy.lost-worker-timeout": "600ms"})
    with seldom_there, kept_cluster(place(1, 1, 2, ()), quiet=False) as (client, monitor), monitor.running():
        first = client.submit(os.getpid, pure=False).result(timeout=120)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: workers_of(os.getpid()) - {first}, interval_s=0.2)
        (second,) = workers_of(os.getpid()) - {first}
        os.kill(second, signal.SIGKILL)
        assert client.submit(os.getpid, pure=False).result(timeout=120) not in (first, second)


CLOSES = itertools.count()


class NoSuchQueue(ProcessInterface):
    """A job that its queue refuses with an error."""

    async def start(self):
        raise LookupError("sbatch: error: invalid partition specified: cpu")

    async def close(self):
        await super().close()
        if next(CLOSES) == 0:
            raise LookupError("scancel: error: there is no such job")


def test_a_cluster_whose_workers_never_start_fails_with_the_reason(monkeypatch):
    monkeypatch.setattr(keeper_module, "INTERVAL_S", 0.05)
    monkeypatch.setattr(keeper_module, "PATIENCE_S", 0.0)
    told: list[str] = []
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0", "host": "127.0.0.1"}}
    with SpecCluster(scheduler=scheduler, worker={"cls": NoSuchQueue}) as cluster:
        request_workers(cluster, 2)
        with (
            Client(cluster, set_as_default=False) as client,
            pytest.raises(Failed, match="invalid partition"),
            WorkerMonitor(client, cluster, told.append).running(),
        ):
            pytest.fail("there is no worker")
    assert told[-1].startswith("workers fail to start: sbatch: error: invalid partition"), told
    assert "the run waits for one; the last one that failed to start: s" in told[0]


def test_jobs_of_several_workers_are_refused():
    processes = {"jobqueue.local": {"cores": 2, "processes": 2, "memory": "2GB"}}
    local = {"jobqueue.local.scheduler-options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    settings = Settings(engine="dask_jobqueue.local.LocalCluster")
    with (
        dask.config.set({**processes, **local}),
        pytest.raises(BadInput, match="its jobs have 2 workers each"),
        open_cluster(settings, 2),
    ):
        pytest.fail("it was opened")


def break_the_gpu(error):
    """Raise the error of a failing GPU inside a member."""
    with watched(Limits(), "session", "g0001/m00"):
        raise error("CUDA error: out of memory")


def test_a_failing_gpu_ends_the_worker_and_the_member_is_retried():
    ended: list[object] = []
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        kept_cluster(place(1, 1, 2, ())) as (client, monitor),
        monitor.running(),
    ):
        client.subscribe_topic(ended_topic("session"), ended.append)
        seen = [client.submit(os.getpid, pure=False).result(timeout=120)]
        for error in (torch.OutOfMemoryError, torch.AcceleratorError):
            with pytest.raises(KilledWorker):
                client.submit(break_the_gpu, error).result(timeout=120)
            seen.append(client.submit(os.getpid, pure=False).result(timeout=120))
        assert len(set(seen)) == 3
    assert ended == []


def test_with_dask_cuda_its_cluster_gets_the_devices_and_declares_them(tmp_path, monkeypatch):
    """A stand-in: dask-cuda itself does not start without a GPU. It takes the arguments that are its own."""
    (tmp_path / "dask_cuda.py").write_text(
        "from distributed import LocalCluster\n"
        "class LocalCUDACluster(LocalCluster):\n"
        "    def __init__(self, CUDA_VISIBLE_DEVICES=None, **options):\n"
        "        self.devices = CUDA_VISIBLE_DEVICES\n"
        "        super().__init__(n_workers=len(self.devices), **options)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    gpus = ("GPU-a", "GPU-b")
    with open_local(place(1, 1, 2, gpus), gpus) as cluster, Client(cluster, set_as_default=False) as client:
        assert cluster.devices == ["GPU-a"]
        assert [worker["resources"] for worker in list_workers(client).values()] == [{"GPU": 1}]
    with open_local(place(3, 3, 2, gpus), gpus) as cluster:
        assert isinstance(cluster, SlotCluster)


def test_doctor_names_the_workers_and_their_gpus(monkeypatch, capfd, here):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("EVOLVE_WORKERS", "2..5")
    monkeypatch.setenv("PREFECT_API_URL", "")
    doctor(json=True)
    checks = {check["name"]: check["finding"] for check in json.loads(capfd.readouterr().out)}
    assert checks["workers"] == "2 to 5, at most one per member: 3 on GPU 0, 2 on GPU 1"


@pytest.fixture
def one_slot(prefect_url):
    """Create a concurrency limit of one for a new tag."""
    tag = "gpu-of-a-test"
    for _ in range(2):  # twice, as a deployment that is made again does
        limit_gpu_slots(3, tag)
        limit_gpu_slots(1, tag)
    yield tag
    with get_client(sync_client=True) as client:
        client.delete_global_concurrency_limit_by_name(f"tag:{tag}")


def occupied(tag):
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(f"tag:{tag}").active_slots


@pytest.mark.slow
def test_with_a_limit_of_one_no_two_members_learn_at_the_same_time(cli, one_slot):
    cli.environment["EVOLVE_SLOTS_TAG"] = one_slot
    config = make_config(**{"training.max_steps": 768})
    head = cli.json("run", "--config", cli.config(config), "--run-id", "shared", "--workers", "2")["head"]
    assert head == undisturbed(config).head
    timings = cli.run_store("shared").timings(1)
    spans = sorted((timing.start, timing.end) for timing in [*timings.train.values(), *timings.evaluate.values()])
    assert len(spans) == 6
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    wait_for(lambda: occupied(one_slot) == 0, interval_s=0.5)


@pytest.mark.slow
def test_a_killed_worker_does_not_keep_its_slot(cli, one_slot):
    cli.environment["EVOLVE_SLOTS_TAG"] = one_slot
    config = make_config(**{"training.evo_steps": 16_384, "training.max_steps": 49_152})
    process = cli.start("run", "--config", cli.config(config), "--run-id", "killed", "--workers", "1", "--json")
    wait_for(lambda: occupied(one_slot) == 1, timeout_s=120, interval_s=0.5)
    kill_all({process.pid, *descendants(process.pid)})
    assert process.wait() == -signal.SIGKILL
    wait_for(
        lambda: occupied(one_slot) == 0, timeout_s=120, interval_s=0.5
    )  # a lease of 60 s; expired ones are collected every 15 s
    process.communicate()
