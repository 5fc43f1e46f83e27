"""A team's service, all of it real: secrets reach no log, no answer, no artifact, no object and no database.

PostgreSQL as its container sets it up, S3 under the shipped policies, a hardened Prefect server, a worker, and the
command line, all with verbose logs.
"""

import base64
import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import botocore.session
import httpx
import pytest
from rich.console import Console

from flows.cli.ending import ExitReport
from flows.settings import Settings
from tests.conftest import make_config
from tests.deployments.conftest import CONTAINERS, server_settings
from tests.deployments.test_modules import MARK, MODULE
from tests.flows.conftest import ROOT, Cli, command_of, descendants, end_within
from tests.services import BUCKET, free_port, postgres_server, prefect_server, s3_server, wait_for

CANARY = "c4narysecret"
SECRETS = {name: f"{CANARY}{name}" for name in ("auth", "serverdb", "studydb", "workerkey", "gckey")}
AUTH = f"operator:{SECRETS['auth']}"
NEEDLES = tuple(needle.encode() for needle in (CANARY, *(base64.b64encode(text.encode()).decode() for text in (AUTH,))))
CONFIG = make_config(**{"training.max_steps": 768}).model_dump(mode="json")


LEAKY = """
import os
import gymnasium
class Env(gymnasium.Env):
    def __init__(self):
        raise RuntimeError("login failed: " + os.environ["AWS_SECRET_ACCESS_KEY"])
gymnasium.register("Leaky-v0", Env)
"""


@dataclass
class Team:
    """The running service of a team, and the output of its commands."""

    directory: Path
    prefect: str
    database: dict[str, str]
    s3_port: int
    environment: dict[str, str]
    said: dict[str, bytes] = field(default_factory=dict)

    def evolve(self, *arguments: str, expect: int, **changed: str) -> str:
        """Call the command line; keep its output."""
        done = Cli(self.directory, self.environment | changed)(*arguments, expect=expect)
        self.said[f"{len(self.said)} evolve {arguments[0]}"] = (done.stdout + done.stderr).encode()
        return done.stdout + done.stderr


@contextmanager
def databases(directory: Path):
    """Start PostgreSQL with its two databases; yield the environment variables of its superuser."""
    directory.mkdir()
    with postgres_server(directory, passwords=True) as url:
        port = re.fullmatch(r".*:(\d+)/.*", url)[1]
        socket = str(directory)
        superuser = {**os.environ, "PGHOST": socket, "PGPORT": port, "POSTGRES_USER": "evolve", "PGUSER": "evolve"}
        passwords = {"PREFECT_DATABASE_PASSWORD": SECRETS["serverdb"], "OPTUNA_DATABASE_PASSWORD": SECRETS["studydb"]}
        subprocess.run([CONTAINERS / "databases.sh"], check=True, env=superuser | passwords, capture_output=True)
        yield superuser


@contextmanager
def store(directory: Path):
    """Start SeaweedFS with the shipped policies."""
    directory.mkdir()
    keys = {}
    for who in ("admin", "worker", "gc"):
        access = "evolve-tests" if who == "admin" else who  # whose name the fixture waits for
        secret = "evolve-tests-secret" if who == "admin" else SECRETS[f"{who}key"]
        keys |= {f"EVOLVE_{who.upper()}_ACCESS_KEY": access, f"EVOLVE_{who.upper()}_SECRET_KEY": secret}
    file = directory / "identities.json"
    subprocess.run([sys.executable, "-m", "deployments.s3.identities", str(file)], check=True, env=keys, cwd=ROOT)
    with s3_server(directory, **{"s3.config": str(file)}) as server:
        yield server


@contextmanager
def team(directory: Path):
    """Start everything as compose.yaml does, without containers."""
    with ExitStack() as stack:
        pg, s3 = stack.enter_context(databases(directory / "pg")), stack.enter_context(store(directory / "s3"))
        port = free_port()
        settings = server_settings(AUTH, "https://prefect.localhost") | {
            "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": pg["PGPORT"],
            "PREFECT_SERVER_DATABASE_NAME": "prefect",
            "PREFECT_SERVER_DATABASE_USER": "prefect",
            "PREFECT_SERVER_DATABASE_PASSWORD": SECRETS["serverdb"],
            "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
        }
        stack.enter_context(prefect_server(directory / "server", port, **settings))
        (directory / "canary_mod.py").write_text(MODULE)
        (directory / "leaky.py").write_text(LEAKY)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
        environment = {
            **clean,
            **s3.environment,
            "AWS_ACCESS_KEY_ID": "worker",
            "AWS_SECRET_ACCESS_KEY": SECRETS["workerkey"],
            "EVOLVE_STORE": f"s3://{BUCKET}/runs",
            "EVOLVE_STUDY": f"postgresql+psycopg2://optuna:{SECRETS['studydb']}@127.0.0.1:{pg['PGPORT']}/optuna",
            "EVOLVE_WORKERS": "2",
            "EVOLVE_ENV_PACKAGES": "leaky",
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_AUTH_STRING": AUTH,
            "PREFECT_HOME": str(directory / "client"),
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": f"{ROOT}:{directory}",
            MARK: str(directory / "mark"),
        }
        (directory / "client").mkdir()
        yield Team(directory, f"http://127.0.0.1:{port}/api", pg, s3.port, environment)


@contextmanager
def worker(team: Team):
    """Run a worker of the pool, as its container starts it."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "evolve", "--type", "process"]
    with (team.directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=team.directory, env=team.environment, stdout=log, stderr=log)
        try:
            yield
            wait_for(
                lambda: not [pid for pid in descendants(process.pid) if "prefect.engine" in command_of(pid)],
                interval_s=0.5,
            )
        finally:
            below = descendants(process.pid)
            process.terminate()
            end_within(process, 60)
            for pid in below:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue


@contextmanager
def client(team: Team):
    """Open a client of the API, logged in and with a CSRF token."""
    with httpx.Client(base_url=team.prefect, auth=tuple(AUTH.split(":")), timeout=60) as api:
        token = api.get("/csrf-token", params={"client": "tests"}).raise_for_status().json()["token"]
        api.headers.update({"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": token})
        yield api


def finish(api: httpx.Client, **form: str) -> dict[str, object]:
    """Start a flow run, as the form does, and wait for its end."""
    deployment = api.get("deployments/name/evolve/evolve").raise_for_status().json()["id"]
    made = api.post(f"deployments/{deployment}/create_flow_run", json={"parameters": form})
    run = made.raise_for_status().json()["id"]
    ended = ("COMPLETED", "FAILED", "CRASHED")
    wait_for(lambda: api.get(f"flow_runs/{run}").json()["state_type"] in ended, timeout_s=240, interval_s=0.5)
    return api.get(f"flow_runs/{run}").json()


def answers(api: httpx.Client):
    """Yield the API's answers to all requests that only read."""
    paths = api.get("/openapi.json").json()["paths"]
    for path, verbs in paths.items():
        if "{" in path:
            continue
        if "get" in verbs:
            yield path, api.get(path).content
        if "post" in verbs and path.endswith(("/filter", "/history", "/paginate")):
            for offset in range(0, 2000, 200):
                body = {} if "events" in path else {"limit": 200, "offset": offset}
                answer = api.post(path, json=body)
                yield path, answer.content
                if answer.status_code != 200 or not isinstance(answer.json(), list) or len(answer.json()) < 200:
                    break


def objects(team: Team):
    """Yield key and content of every object of the store."""
    s3 = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{team.s3_port}",
        aws_access_key_id="evolve-tests",
        aws_secret_access_key="evolve-tests-secret",
        region_name="us-east-1",
    )
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for found in page.get("Contents", []):
            yield found["Key"], found["Key"].encode() + s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
    s3.close()


def everything(team: Team):
    """Yield all that can be read later: output, answers, objects, databases and files."""
    yield from team.said.items()
    with client(team) as api:
        yield from answers(api)
    yield from objects(team)
    for database in ("prefect", "optuna"):
        dump = subprocess.run(["pg_dump", database], env=team.database, check=True, capture_output=True)
        yield f"database {database}", dump.stdout
    data = (team.directory / "pg" / "data", team.directory / "s3")  # what is in them was read above
    logs = (team.directory / "s3").glob("*.log")
    for path in (*logs, *(path for path in team.directory.rglob("*") if not any(map(path.is_relative_to, data)))):
        if path.is_file():
            yield str(path), path.read_bytes()


def test_the_command_that_continues_a_run_shows_no_password(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/run.json").touch()
    url = f"postgresql+psycopg2://optuna:{SECRETS['studydb']}@db/optuna?password={SECRETS['studydb']}"
    report = ExitReport(
        "one", make_config(), Settings(store=str(tmp_path), study=url), None, RuntimeError("it broke"), 1
    )
    report.show(Console(file=(shown := StringIO()), width=300))
    assert "evolve resume one" in shown.getvalue()
    assert "--study 'postgresql+psycopg2://optuna:***@db" in shown.getvalue()  # quoted, as a shell needs it
    assert CANARY not in shown.getvalue() + json.dumps(report.as_json())


@pytest.mark.slow
def test_secrets_stay_secret_and_modules_are_not_imported(tmp_path):
    with team(tmp_path) as service:
        service.evolve("deploy", expect=0)
        with worker(service), client(service) as api:
            done = finish(api, yaml=json.dumps(CONFIG))
            log = (tmp_path / "worker.log").read_text()
            assert done["state_type"] == "COMPLETED", log[-6000:]
            intruder = {**CONFIG, "env": {**CONFIG["env"], "id": "canary_mod:Canary-v0"}}
            forms = {"env.id": {"yaml": json.dumps(intruder)}, "Environment": {"environment": "canary_mod:Canary-v0"}}
            for field, form in forms.items():
                refused = finish(api, **form)
                assert refused["state_type"] == "FAILED"
                assert refused["state"]["message"].startswith(field), refused["state"]
                assert "EVOLVE_ENV_PACKAGES=canary_mod" in refused["state"]["message"]
            leaked = finish(api, environment="leaky:Leaky-v0")
            assert leaked["state_type"] == "FAILED"
            assert "login failed: ***" in leaked["state"]["message"], leaked["state"]
            service.said["process list"] = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True).stdout
            assert b"prefect worker start" in service.said["process list"]
        assert not (tmp_path / "mark").exists()

        file = tmp_path / "config.json"
        file.write_text(json.dumps(CONFIG))
        run = ("run", "--config", str(file), "--run-id")
        mistyped = service.environment["EVOLVE_STUDY"].replace(SECRETS["studydb"], f"{CANARY}mistyped")
        assert "password authentication failed" in service.evolve(*run, "mistyped", expect=3, EVOLVE_STUDY=mistyped)
        elsewhere = service.environment["EVOLVE_STUDY"].removesuffix("optuna") + "prefect"
        assert "permission denied" in service.evolve(*run, "behind", expect=3, EVOLVE_STUDY=elsewhere)
        broken = service.environment["EVOLVE_STUDY"].replace("postgresql+psycopg2", "postgresql+nothing")
        service.evolve("lineage", "rebuild", "behind", expect=2, EVOLVE_STUDY=broken)
        wrong = SECRETS["workerkey"].upper().replace(CANARY.upper(), CANARY)
        assert "access denied" in service.evolve("status", expect=2, AWS_SECRET_ACCESS_KEY=wrong)

        found = dict(everything(service))
    assert len([name for name in found if name.endswith("COMMIT.json")]) == 6
    assert any("flow_runs" in name for name in found) and b"CartPole" in b"".join(found.values())
    leaks = {
        name: content[max(0, at - 150) : at + 100]
        for name, content in found.items()
        for needle in NEEDLES
        if (at := content.find(needle)) >= 0
    }
    assert leaks == {}
