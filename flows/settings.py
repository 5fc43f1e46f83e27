"""Operational settings. They belong to the deployment, and a run may continue under other ones.

They come from flags or from environment variables (EVOLVE_STORE, EVOLVE_STUDY, …), never from flow parameters, so
no URL is recorded by Prefect. Credentials are not among them: each library finds its own.
"""

import importlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ByteSize, ValidationInfo, field_validator

from evo_core.config.bounds import MOST_WORKERS
from evo_core.envs.making import append_module_path
from evo_core.installation import check_package_names
from evo_core.plugins.installed import offers
from evo_core.plugins.kinds import TRACKER
from evo_core.plugins.loading import PluginError
from flows.bad_input import BadInput as BadInput
from flows.bad_input import Failed as Failed
from flows.bad_input import require_certificates
from flows.operational import ENV_PREFIX, Address, Name, OperationalSettings, setting
from flows.slots import VISIBLE, Slot, place, visible_gpus
from tasks.logs.redaction import concealed
from tasks.store.addresses import directory_of, parse_store, parse_study, shown
from tasks.views.trackers import TRACKERS, MissingExtra, is_tracker, make_tracker
from tasks.worker.limits import Limits

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster

USABLE_MEMORY = 0.9
"""Share of the machine's memory that local workers may use together."""

LONGEST_SIZE = 32
"""Characters of an amount of memory."""

_WORKERS = re.compile(r"^([1-9]\d{0,9})(?:\.\.([1-9]\d{0,9}))?$")
_CLASS = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")


class Settings(OperationalSettings):
    """All operational settings; those added here have no flag."""

    env_packages: Annotated[Address, AfterValidator(check_package_names)] = setting(
        "minigrid",
        "Packages, separated by commas, that may be imported for environments and plugins named package.module:Name.",
    )
    slots_tag: Name | None = setting(
        None, "Prefect tag of members, whose limit bounds them over all runs.", unset="gpu, on GPUs"
    )
    store_page: Address | None = setting(
        None, "Where browsers find a run in the store; {run} stands for its name.", unset="no link"
    )
    study_page: Address | None = setting(
        None,
        "Where browsers find a run's study; {study} stands for its number in optuna-dashboard.",
        unset="no link",
    )

    @field_validator("engine")
    @classmethod
    def _check_engine(cls, value: str) -> str:
        address = urlsplit(value)
        if value != "local" and not (address.scheme in ("tcp", "tls") and address.hostname) and not _CLASS.match(value):
            raise ValueError(
                "expected local, a scheduler's address such as tcp://host:8786, or a cluster class such as "
                f"dask_jobqueue.SLURMCluster, got {shown(value)}"
            )
        return value

    @field_validator("member_memory", mode="before")
    @classmethod
    def _check_memory(cls, value: object) -> object:
        if isinstance(value, str) and len(value) > LONGEST_SIZE:
            raise ValueError(f"expected a size such as 4GiB, got {value[:LONGEST_SIZE]!r}…")
        return value

    @field_validator("workers", mode="before")
    @classmethod
    def _check_workers(cls, value: object) -> str | None:
        if value is None:
            return None
        match = _WORKERS.match(str(value))
        if match is None or not int(match[1]) <= int(match[2] or match[1]) <= MOST_WORKERS:
            raise ValueError(
                f"expected a number from 1, such as 4, or a range such as 1..4, at most {MOST_WORKERS}, got {value!r}"
            )
        return str(value)

    @field_validator("store", "study")
    @classmethod
    def _check_address(cls, value: str | None, field: ValidationInfo) -> str | None:
        if value is not None:
            (parse_store if field.field_name == "store" else parse_study)(value)
        return value

    @field_validator("env_path")
    @classmethod
    def _check_env_path(cls, value: str) -> str:
        directories = [Path(name).expanduser().absolute() for name in value.split(os.pathsep) if name]
        if missing := [directory for directory in directories if not directory.is_dir()]:
            raise ValueError(f"expected directories, separated by {os.pathsep}, but {missing[0]} is none")
        return os.pathsep.join(map(str, directories))

    @field_validator("store_page", "study_page")
    @classmethod
    def _check_page(cls, value: str | None) -> str | None:
        address = urlsplit(value or "https://unset")
        if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
            raise ValueError(
                f"expected an address that browsers open, http(s)://…, without a password, got {concealed(value or '')}"
            )
        return value or None

    @field_validator("track")
    @classmethod
    def _check_track(cls, value: str) -> str:
        names = _listed(value)
        if unknown := [name for name in names if not is_tracker(name)]:
            known = ", ".join([*TRACKERS, *offers(TRACKER)])
            raise ValueError(
                f"expected names out of {known}, or package.module:Name, separated by commas, got {unknown[0]!r}"
            )
        return ",".join(dict.fromkeys(names))

    def model_post_init(self, context: object) -> None:
        """Add the directories of allowed packages to this process's search path."""
        append_module_path(self.env_directories)

    @property
    def store_url(self) -> str:
        """The store as a URL; a plain path becomes file://."""
        return parse_store(self.store)

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that may be imported for environments and plugins."""
        return _listed(self.env_packages)

    @property
    def env_directories(self) -> tuple[str, ...]:
        """Further directories in which packages of environments are searched."""
        return tuple(name for name in self.env_path.split(os.pathsep) if name)

    @property
    def trackers(self) -> tuple[str, ...]:
        """Names of the configured trackers."""
        return _listed(self.track)

    def check_trackers(self) -> None:
        """Raise BadInput, with what to install, for a tracker that is not installed."""
        for name in self.trackers:
            try:
                make_tracker(name, self.packages)
            except (MissingExtra, PluginError) as error:
                raise BadInput(f"--track: {error}") from None

    def check_reach(self, prefect_api: str | None) -> None:
        """Raise BadInput for an unavailable engine or device, and for locations that workers on other machines cannot
        reach.
        """
        if _CLASS.match(self.engine):
            self.cluster_class()
        if self.device == "cuda" and self.engine == "local" and not _count_gpus():
            raise BadInput(
                "--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch"
            )
        if urlsplit(self.engine).scheme == "tls":
            require_certificates(self.engine)
        if self._on_this_machine:
            return
        elsewhere = f"workers of {self.engine} run on other machines"
        if self.store_url.startswith("file:"):
            raise BadInput(f"store {self.store_url}: {elsewhere} and cannot reach this directory; use --store s3://…")
        if prefect_api is None:
            raise BadInput(
                f"{elsewhere} and cannot reach an embedded Prefect server; set PREFECT_API_URL to a shared one"
            )

    @property
    def study_url(self) -> str:
        """The Optuna database; by default SQLite, in the local store's directory or in ./runs."""
        if self.study is not None:
            return parse_study(self.study)
        return f"sqlite:///{self._local_directory / 'study.db'}"

    @property
    def tracking_directory(self) -> Path:
        """Directory of files of trackers: in the local store's directory, or in ./runs."""
        return self._local_directory / "tracking"

    @property
    def artifact_directory(self) -> Path:
        """Directory of the study's videos: in the local store's directory, or in ./runs."""
        return self._local_directory / "artifacts"

    @property
    def _local_directory(self) -> Path:
        return directory_of(self.store_url) if self.store_url.startswith("file:") else Path("runs").absolute()

    def cluster_class(self) -> "type[Cluster]":
        """Import the cluster class that `engine` names; BadInput when there is no such class."""
        package, _, name = self.engine.rpartition(".")
        extra = {"dask_jobqueue": "pip install 'evolve-rl[cluster]'"}.get(package.split(".")[0])
        try:
            found = getattr(importlib.import_module(package), name, None)
        except ImportError as error:
            advice = extra or f"install the package that holds {package}, or correct the name"
            raise BadInput(f"--engine {self.engine}: {error}; {advice}") from None
        from distributed.deploy.cluster import Cluster

        if not (isinstance(found, type) and issubclass(found, Cluster)):
            raise BadInput(f"--engine {self.engine}: expected a Dask cluster class in {package}, got {found!r}")
        return found

    @property
    def _on_this_machine(self) -> bool:
        """Return True if workers run on this machine: local, of a scheduler here, or of a one-machine cluster class."""
        if _CLASS.match(self.engine):
            return self.engine.endswith((".LocalCluster", ".LocalCUDACluster"))
        host = urlsplit(self.engine).hostname
        return self.engine == "local" or host in ("localhost", "127.0.0.1", "::1", socket.gethostname())

    @property
    def scale(self) -> tuple[int, int] | None:
        """Smallest and largest number of workers requested; None if it was not set."""
        if self.workers is None:
            return None
        fewest, _, most = self.workers.partition("..")
        return int(fewest), int(most or fewest)

    @property
    def gpus(self) -> tuple[str, ...]:
        """GPUs of this machine that members may learn on; none when the device is the CPU."""
        if self.device == "cpu":
            return ()
        return visible_gpus(os.environ.get(VISIBLE), _count_gpus())

    def slots(self, members: int) -> tuple[Slot, ...]:
        """Return the slots on this machine for a population: as many as there are workers at most."""
        from dask.system import CPU_COUNT

        return place(self.scale[1] if self.scale else None, members, CPU_COUNT, self.gpus)

    def limits(self, members: int) -> Limits:
        """Return the limits of one phase of a member; by default, workers elsewhere have no memory limit."""
        from distributed.system import MEMORY_LIMIT

        memory = self.member_memory
        if memory is None and self.engine == "local":
            memory = ByteSize(MEMORY_LIMIT * USABLE_MEMORY / len(self.slots(members)))
        return Limits(self.member_deadline, memory)

    def export(self) -> None:
        """Export the settings to this process's environment, where the flows read them."""
        for name, value in self.model_dump(exclude_none=True).items():
            os.environ[ENV_PREFIX + name.upper()] = str(int(value) if isinstance(value, ByteSize) else value)


def _count_gpus() -> int:
    import torch  # takes a second or two: only where workers are placed

    return torch.cuda.device_count()


def _listed(names: str) -> tuple[str, ...]:
    """Split names that are separated by commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
