"""Runs on every engine have the same chain: local, adaptive, an existing cluster, TLS, jobs of a queue."""

import datetime
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from distributed import Client

from flows.engine.worker_monitor import list_workers
from tasks.worker.limits import Limits
from tasks.worker.watchdog import watched
from tests.conftest import make_config
from tests.flows.conftest import EVOLVE, ROOT, Cli, alive, descendants, end_within, workers_of
from tests.services import credentials, free_port, wait_for
from tests.spreading import undisturbed

CONFIG = make_config()
SLOWER = make_config(**{"training.evo_steps": 4096, "training.max_steps": 36_864, "algorithm.update_epochs": 4})


@pytest.fixture(scope="module")
def oracle():
    return undisturbed(CONFIG)


class Dask:
    """A Dask cluster of separate processes: a scheduler and workers."""

    def __init__(self, cli: Cli, environment: dict[str, str], protocol: str = "tcp") -> None:
        self.environment = {**os.environ, **cli.environment, **environment}
        self.log, self.processes = cli.directory / "dask.log", []
        self.address = f"{protocol}://127.0.0.1:{free_port()}"
        self.start("scheduler", "--host", self.address)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of the cluster."""
        command = [Path(EVOLVE).parent / "dask", *arguments, "--dashboard-address", "127.0.0.1:0"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env={**self.environment, **environment}, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def worker(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker with its nanny."""
        return self.start("worker", self.address, "--nthreads", "1", *arguments, **environment)

    def end(self) -> None:
        """End all processes, and check that they were running until now.

        The scheduler goes last: a nanny waits eight seconds for a worker that has lost it, and for ever for one that
        was just starting.
        """
        lived = [process.poll() is None for process in self.processes]
        scheduler, *workers = self.processes
        for process in workers:
            process.terminate()
        for process in workers:
            end_within(process, 15)
        scheduler.terminate()
        end_within(scheduler, 15)
        assert all(lived), self.log.read_text()[-3000:]  # the cluster is not ours to end


@contextmanager
def dask_cluster(cli: Cli, environment: dict[str, str] | None = None, protocol: str = "tcp") -> Iterator[Dask]:
    cluster = Dask(cli, environment or {}, protocol)
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.mark.slow
def test_the_first_member_on_a_worker_ends_its_profiler(cli):
    def ticking(dask_worker):
        return sorted({"profile", "profile-cycle", "heartbeat"} & set(dask_worker.periodic_callbacks))

    def member():
        with watched(Limits(), "session", "g0001/m00"):
            return True

    with dask_cluster(cli) as cluster, Client(cluster.address, set_as_default=False) as client:
        cluster.worker()
        client.wait_for_workers(1, timeout=120)
        assert list(client.run(ticking).values()) == [["heartbeat", "profile", "profile-cycle"]]
        assert client.submit(member).result(timeout=120)
        assert client.submit(member, pure=False).result(timeout=120)
        kept = ["heartbeat"] if sys.version_info < (3, 12) else ["heartbeat", "profile", "profile-cycle"]
        assert list(client.run(ticking).values()) == [kept]


@pytest.mark.slow
def test_members_run_on_workers_that_declare_a_gpu_alone_and_carry_its_tag(cli, oracle, prefect_url):
    with dask_cluster(cli) as cluster, Client(cluster.address, set_as_default=False) as client:
        cluster.worker()
        cluster.worker("--resources", "GPU=1", OPENBLAS_CORETYPE="Nehalem")  # other bits of NumPy, and the same chain
        client.wait_for_workers(2, timeout=120)
        (gpu,) = (address for address, worker in list_workers(client).items() if worker["resources"] == {"GPU": 1})
        process = client.run(os.getpid)[gpu]
        run = ("run", "--config", cli.config(CONFIG), "--engine", cluster.address, "--run-id")
        placed = cli(*run, "placed", "--json")
        assert json.loads(placed.stdout)["head"] == oracle.head
        (warning,) = (line for line in placed.stderr.splitlines() if "compute with" in line)
        assert "other results of the same functions (numpy)" in warning
        assert processes_of(cli.run_store("placed")) == {process}
        assert cli.json(*run, "anywhere", "--device", "cpu")["head"] == oracle.head
        assert len(processes_of(cli.run_store("anywhere"))) == 2

    def found(kind, **which):
        return httpx.post(f"{prefect_url}/{kind}/filter", json=which, auth=credentials()).raise_for_status().json()

    def tagged():
        named = found("flow_runs", flow_runs={"name": {"any_": [CONFIG.run_name]}})
        ours = [run["id"] for run in named if run["parameters"].get("run_id") in ("placed", "anywhere")]
        below = {"parent_flow_run_id": {"any_": ours}}  # other modules share the server
        names = Counter(
            task["name"].split()[0]
            for task in found("task_runs", task_runs={"tags": {"all_": ["gpu"]}}, flow_runs=below)
        )
        return names["train"], names["evaluate"]

    wait_for(lambda: tagged() >= (9, 9))  # the server works events off after they arrived
    assert tagged() == (9, 9)  # three generations of three members, of the first run alone


def processes_of(run):
    """The workers' processes that trained and evaluated the members of a run."""
    timings = [run.timings(generation) for generation in range(1, len(list(run.commits())))]
    return {timing.process for each in timings for timing in (*each.train.values(), *each.evaluate.values())}


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_makes_the_same_chain(cli):
    with dask_cluster(cli) as cluster:
        nannies = [cluster.worker(), cluster.worker()]
        process = cli.start(
            "run", "--config", cli.config(SLOWER), "--engine", cluster.address, "--run-id", "lost", "--json"
        )
        first = cli.directory / "runs/lost/gen/000001/COMMIT.json"
        wait_for(lambda: first.exists() or process.poll() is not None, timeout_s=300)
        assert first.exists(), process.communicate()
        (victim,) = workers_of(nannies[0].pid)
        os.kill(victim, signal.SIGKILL)
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert not alive(victim)
    assert undisturbed(SLOWER).head in out


@pytest.mark.slow
def test_a_run_that_is_stopped_stops_the_workers_of_a_cluster_that_is_not_its_own(cli):
    cli.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'plugin'}"
    talks = {"env.kwargs": {"what": "print", "after": 100, "odds": 0.001}}
    endless = make_config(
        "Probe/Faulty-v0", **talks, **{"training.evo_steps": 4 * 10**7, "training.max_steps": 12 * 10**7}
    )
    with dask_cluster(cli) as cluster:
        nanny = cluster.worker()
        process = cli.start("run", "--config", cli.config(endless), "--engine", cluster.address, "--run-id", "endless")
        wait_for(lambda: "an environment that talks" in cluster.log.read_text(), timeout_s=300, interval_s=0.2)
        (worker,) = workers_of(nanny.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=240)
        wait_for(lambda: not alive(worker), timeout_s=30)
        with Client(cluster.address) as client:  # its nanny brings another one, for whose run comes next
            wait_for(lambda: list_workers(client), interval_s=0.5)


def make_certificate(directory: Path) -> dict[str, str]:
    """Create a self-signed certificate; return the environment variables by which Dask uses it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evolve-tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files = {"CERT": str(cert), "KEY": str(private)}
    roles = {f"{role}__{kind}": path for role in ("CLIENT", "SCHEDULER", "WORKER") for kind, path in files.items()}
    tls = {"CA_FILE": str(cert), **roles}
    return {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        **{f"DASK_DISTRIBUTED__COMM__TLS__{key}": value for key, value in tls.items()},
    }


@dataclass(frozen=True)
class Waited:
    """A run on a cluster with TLS that was empty when it began: what it said, and how it ended."""

    address: str
    before: str
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def waited(tmp_path_factory, prefect_environment) -> Waited:
    """Start a run on an empty cluster with TLS, and workers once it says that it waits for them."""
    cli = Cli(tmp_path_factory.mktemp("waited"), dict(prefect_environment))
    cli.environment |= make_certificate(cli.directory)
    with dask_cluster(cli, protocol="tls") as cluster:
        process = cli.start("run", "--config", cli.config(CONFIG), "--engine", cluster.address, "--json")
        said: list[str] = []

        def warned():
            said.append(process.stderr.readline())
            return "dask worker" in said[-1]

        wait_for(warned)
        cluster.worker("--nworkers", "2")
        out, err = process.communicate(timeout=240)
    return Waited(cluster.address, said[-1], process.returncode, out, err)


@pytest.mark.slow
def test_a_run_on_an_empty_cluster_waits_for_workers_with_a_message(waited, oracle):
    assert f"no worker at {waited.address}, the run waits for one" in waited.before
    assert waited.code == 0, waited.err
    assert oracle.head in waited.out


@pytest.mark.slow
def test_tls_takes_its_certificates_from_dasks_own_settings(cli, waited, oracle):
    refused = cli("run", "--config", cli.config(CONFIG), "--engine", "tls://127.0.0.1:1", expect=2).stderr
    assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in refused
    assert waited.address.startswith("tls://")
    assert waited.code == 0 and oracle.head in waited.out


@pytest.mark.slow
def test_an_adaptive_local_cluster_grows_to_its_members_and_makes_the_same_chain(cli):
    process = cli.start("run", "--config", cli.config(SLOWER), "--workers", "1..2", "--json")
    most = 0
    while process.poll() is None:
        most = max(most, len(workers_of(process.pid)))
        time.sleep(0.2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert undisturbed(SLOWER).head in out
    assert most == 2


QUEUE = {
    "DASK_JOBQUEUE__LOCAL__CORES": "1",
    "DASK_JOBQUEUE__LOCAL__MEMORY": "2GB",
    "DASK_JOBQUEUE__LOCAL__SCHEDULER_OPTIONS__HOST": "127.0.0.1",
    "DASK_JOBQUEUE__LOCAL__SCHEDULER_OPTIONS__DASHBOARD_ADDRESS": "127.0.0.1:0",
    "DASK_JOBQUEUE__LOCAL__WORKER_EXTRA_ARGS": "['--dashboard-address', '127.0.0.1:0']",
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["2", "1..2"])
def test_jobs_of_a_queue_make_the_same_chain_and_none_outlives_the_run(cli, oracle, workers):
    cli.environment |= QUEUE
    engine = ("--engine", "dask_jobqueue.local.LocalCluster", "--workers", workers)
    process = cli.start("run", "--config", cli.config(CONFIG), *engine, "--run-id", "queued", "--json")
    jobs: set[int] = set()
    while process.poll() is None:
        jobs |= descendants(process.pid)
        time.sleep(0.2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert oracle.head in out
    assert len(jobs) >= 2
    wait_for(lambda: not any(map(alive, jobs)), timeout_s=30)


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        (("--engine", "ftp://host"), "expected local, a scheduler's address"),
        (("--engine", "tcp://"), "expected local, a scheduler's address"),
        (("--engine", "SLURMCluster"), "expected local, a scheduler's address"),
        (("--engine", "no_such_package.Cluster"), "install the package that holds no_such_package"),
        (("--engine", "dask_jobqueue.NoCluster"), "expected a Dask cluster class in dask_jobqueue"),
        (("--engine", "os.path"), "expected a Dask cluster class in os"),
        (("--engine", "tcp://elsewhere:8786"), "use --store s3://"),
        (("--engine", "dask_jobqueue.SLURMCluster"), "use --store s3://"),
        (("--workers", "0"), "expected a number from 1"),
        (("--workers", "4..2"), "such as 4, or a range such as 1..4, at most 10000, got '4..2'"),
        (("--workers", "many"), "expected a number from 1"),
    ],
)
def test_an_engine_that_cannot_work_is_refused_before_anything_is_written(here, capsys, flags, advice):
    from flows.cli.app import _main

    (here / "config.yaml").write_text("env: {id: CartPole-v1}\ntraining: {max_steps: 100_000}\n")
    assert _main(["run", "--config", "config.yaml", *flags]) == 2
    assert advice in capsys.readouterr().err
    assert not (here / "runs").exists()
