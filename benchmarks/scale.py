"""What orchestration costs at scale: whole runs whose members learn next to nothing.

    python -m benchmarks.scale --members 64 --generations 100
    python -m benchmarks.scale --members 1000 --generations 3 --postgres

The real stack (the evolve flow, a Prefect server, Dask workers, an S3 server, the Optuna study) on the smallest real
configuration: episodes of one step, four steps of training, a network of a few nodes. Taps in front of Prefect's API
and of the S3 server count every request from the run's first to its last. `--postgres` puts Prefect's database and the
study on a PostgreSQL server that is started here. Prints what was measured, and with --output writes it as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import optuna
import psutil
from sqlalchemy import create_engine, text

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evo_core.records.chain import uid
from flows.prefect_server.embedded import prefect_api
from tasks.yaml_text import dump_yaml
from tests.services import BUCKET, credentials, postgres_server, s3_server
from tests.tap import tapped

ROOT = Path(__file__).parents[1]
STEPS = 4
PAGE = 200
"""Rows that Prefect's API returns at once, at most."""

QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}


@dataclass
class Measured:
    """One run. Seconds and resident megabytes of the flow's process by generation; requests by method and path."""

    members: int
    generations: int
    wall_s: float = 0.0
    began_s: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)
    rss_mb: dict[int, float] = field(default_factory=dict)
    store_requests: dict[str, int] = field(default_factory=dict)
    api_requests: dict[str, int] = field(default_factory=dict)
    store_seen: dict[int, int] = field(default_factory=dict)
    trials: int = 0
    lost: int = 0
    double: int = 0
    task_runs: int = 0
    task_runs_wrong: int = 0
    head: str = ""

    @property
    def total(self) -> int:
        """Members of all generations."""
        return self.members * self.generations

    @property
    def store_per_member(self) -> float:
        """Store requests of the whole run, its start and end included, by members; reads of run.json apart."""
        return _without_looks(self.store_requests) / self.total

    @property
    def looks(self) -> int:
        """Reads of run.json, by which a process sees that the run is still there: their number depends on time."""
        return sum(self.store_requests.values()) - _without_looks(self.store_requests)

    @property
    def api_per_member(self) -> float:
        """Requests to Prefect's API of the whole run by members; its event websockets apart."""
        return sum(self.api_requests.values()) / self.total

    @property
    def seconds_per_member(self) -> float:
        """Wall clock from the first generation's begin to the last one's end, by members."""
        return sum(self.seconds.values()) / self.total

    def added_store_requests(self) -> float:
        """Store requests by members between the first generation's end and the last one's."""
        added = self.store_seen[self.generations] - self.store_seen[1]
        return added / (self.members * (self.generations - 1))


def _without_looks(requests: Mapping[str, int]) -> int:
    """Count store requests that are no reads of run.json."""
    return sum(
        count for name, count in requests.items() if not (name.startswith("GET ") and name.endswith("/run.json"))
    )


def null_config(members: int, generations: int) -> RunConfig:
    """Configure the smallest run that goes through everything."""
    bounds = {"layers": [1, 1], "nodes": [8, 16], "latent_dim": [8, 16]}
    base = {
        "env": {"id": "benchmarks.null:Null-v0", "num_envs": 1},
        "algorithm": {"learn_step": STEPS, "batch_size": STEPS, "update_epochs": 1},
        "network": {"latent_dim": 8, "encoder": {"hidden_size": [8]}, "head": {"hidden_size": [8]}, "bounds": bounds},
        "search": {"lr": {"min": 1e-4, "max": 1e-2, "scale": "log"}},
        "population": {"size": members},
        "training": {"max_steps": members * STEPS * generations, "evo_steps": STEPS},
        "evaluation": {"episodes": 1, "confirm_episodes": 2},
    }
    return parse_config(base, {})


def measure(
    directory: Path, config: RunConfig, api_url: str, environment: Mapping[str, str], study: str | None = None
) -> Measured:
    """Run a configuration on an S3 server of its own and a Prefect server that is there; look at all it left."""
    measured = Measured(config.population.size, config.max_generations)
    (directory / "weed").mkdir()
    (directory / "config.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    upstream = urlsplit(api_url).port
    assert upstream is not None
    with s3_server(directory / "weed") as s3, tapped(s3.port) as store, tapped(upstream) as api:
        addresses = {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{store.port}",
            "PREFECT_API_URL": f"http://127.0.0.1:{api.port}/api",
            "EVOLVE_ENV_PACKAGES": "benchmarks",
            "PYTHONPATH": str(ROOT),
        }
        command = [str(Path(sys.executable).parent / "evolve"), "run", "--config", "config.yaml", "--json"]
        command += ["--store", f"s3://{BUCKET}/runs", "--run-id", "scale", *(["--study", study] if study else [])]
        began = time.monotonic()
        with (directory / "out.json").open("w") as out:
            variables = {**os.environ, **QUIET, **environment, **s3.environment, **addresses}
            run = subprocess.Popen(command, cwd=directory, env=variables, stdout=out, stderr=subprocess.PIPE, text=True)
        with run:
            try:
                _watch(run, measured, lambda: _without_looks(dict(store.requests)))
            finally:
                if run.poll() is None:
                    run.terminate()
        measured.wall_s = time.monotonic() - began
        assert run.returncode == 0, f"the run ended with exit code {run.returncode}"
        measured.store_requests, measured.api_requests = dict(store.requests), dict(api.requests)
    result = json.loads((directory / "out.json").read_text())
    measured.head = result["head"]
    _check_study(measured, result["study"])
    _check_task_runs(measured, api_url, config.run_name)
    return measured


def _watch(run: "subprocess.Popen[str]", measured: Measured, requests: Callable[[], int]) -> None:
    """Read what a run says until it ends, and look at its process whenever a generation does."""
    began = time.monotonic()
    process, last = psutil.Process(run.pid), began
    assert run.stderr is not None
    for line in run.stderr:
        now = time.monotonic()
        if line.startswith("run "):
            measured.began_s, last = now - began, now
        elif line.startswith("generation "):
            generation = int(line.split()[1].split("/")[0])
            measured.seconds[generation], last = now - last, now
            measured.rss_mb[generation] = process.memory_info().rss / 2**20
            measured.store_seen[generation] = requests()
            print(f"generation {generation:>4} {measured.seconds[generation]:7.1f} s", end=" ", file=sys.stderr)
            print(f"{measured.rss_mb[generation]:6.0f} MB", file=sys.stderr, flush=True)
        elif "warning" in line:
            print(line, end="", file=sys.stderr, flush=True)


def _check_study(measured: Measured, url: str) -> None:
    """Count the study's trials against the members that there must be."""
    trials = optuna.load_study(study_name="scale", storage=url).get_trials(deepcopy=False)
    uids = Counter(trial.user_attrs["uid"] for trial in trials)
    expected = {uid(g, m) for g in range(1, measured.generations + 1) for m in range(measured.members)}
    measured.trials, measured.lost = len(trials), len(expected - set(uids))
    measured.double = len(trials) - len(expected & set(uids))


def _check_task_runs(measured: Measured, api_url: str, flow_run: str) -> None:
    """Count Prefect's task runs of every member: one training and one evaluation, both completed."""
    with httpx.Client(base_url=api_url, auth=credentials(), timeout=60) as client:

        def rows(kind: str, filters: dict[str, object]) -> list[dict[str, str]]:
            found: list[dict[str, str]] = []
            while len(found) % PAGE == 0:
                page = {**filters, "limit": PAGE, "offset": len(found), "sort": "ID_DESC"}
                more = client.post(f"/{kind}/filter", json=page).raise_for_status().json()
                if not more:
                    break
                found += more
            return found

        def count() -> Counter[tuple[str, str]]:
            parents = [run["id"] for run in rows("flow_runs", {"flow_runs": {"name": {"any_": [flow_run]}}})]
            subflows = rows("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": parents}}})
            ids = [run["id"] for run in subflows if run["name"].startswith("generation ")]
            return Counter(
                (row["name"], row["state_type"])
                for flow_id in ids
                for row in rows("task_runs", {"flow_runs": {"id": {"any_": [flow_id]}}})
                if row["name"].startswith(("train ", "evaluate "))
            )

        expected = {
            (f"{phase} g{g}/m{m}", "COMPLETED"): 1
            for g in range(1, measured.generations + 1)
            for m in range(measured.members)
            for phase in ("train", "evaluate")
        }
        deadline = time.monotonic() + 120
        while (found := count()) != expected and time.monotonic() < deadline:
            time.sleep(2)  # the server works events off after they arrived
    measured.task_runs = found.total()
    measured.task_runs_wrong = sum(abs(found[key] - expected.get(key, 0)) for key in found | expected)


@contextmanager
def servers(directory: Path, postgres: bool) -> Iterator[tuple[str, dict[str, str], str | None]]:
    """Start a Prefect server, on PostgreSQL if asked for; yield its URL, a run's environment, and the study's URL."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        os.environ.pop(name, None)
    home, study = {"PREFECT_HOME": str(directory / "prefect")}, None
    os.environ |= home | QUIET
    with ExitStack() as stack:
        if postgres:
            (directory / "postgres").mkdir()
            url = stack.enter_context(postgres_server(directory / "postgres"))
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                for name in ("prefect", "optuna"):
                    connection.execute(text(f"CREATE DATABASE {name}"))
            engine.dispose()
            study = url.removesuffix("postgres") + "optuna"
            database = url.replace("psycopg2", "asyncpg").removesuffix("postgres") + "prefect"
            os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = database
        yield stack.enter_context(prefect_api()), home, study


def report(measured: Measured) -> str:
    """Say what was measured."""
    numbers = sorted(measured.rss_mb)
    marks = [g for g in numbers if g in (1, 10) or g % 10 == 0 or g == numbers[-1]]
    top = [
        f"    {count / measured.total:6.2f}  {name}"
        for requests in (measured.store_requests, measured.api_requests)
        for name, count in sorted(requests.items(), key=lambda item: -item[1])[:8]
    ]
    return "\n".join(
        [
            f"{measured.members} members x {measured.generations} generations: {measured.wall_s:.0f} s in all",
            f"  {measured.seconds_per_member:.3f} s per member, "
            f"{sum(measured.seconds.values()) / measured.generations:.1f} s per generation",
            f"  per member: {measured.store_per_member:.2f} store requests, {measured.api_per_member:.2f} API requests",
            f"  reads of run.json: {measured.looks}",
            f"  study: {measured.trials} trials, {measured.lost} lost, {measured.double} double",
            f"  Prefect: {measured.task_runs} task runs of members, {measured.task_runs_wrong} wrong",
            "  RSS of the flow (MB): " + ", ".join(f"{g}: {measured.rss_mb[g]:.0f}" for g in marks),
            f"  head {measured.head}",
            *top,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with servers(directory, arguments.postgres) as (url, environment, study):
            config = null_config(arguments.members, arguments.generations)
            measured = measure(directory, config, url, environment, study)
    print(report(measured))
    if arguments.output:
        arguments.output.write_text(json.dumps(asdict(measured), indent=1))


if __name__ == "__main__":
    main()
