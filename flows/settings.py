"""Operational settings: who deploys decides them, and the same run may continue under others.

They come from flags or from environment variables (EVOLVE_STORE, EVOLVE_STUDY, …), never from flow parameters, so
no URL is recorded by Prefect. Credentials are not among them: each library finds its own.
"""

import os
import socket
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from distributed.system import MEMORY_LIMIT
from pydantic import ByteSize, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.trackers import TRACKERS, MissingExtra, make_tracker
from tasks.watchdog import Limits

ENV_PREFIX = "EVOLVE_"
USABLE_MEMORY = 0.9
"""Share of the machine's memory that local workers may use together."""


class BadInput(ValueError):
    """What the user asked for cannot be done; the message says what to change."""


class Failed(RuntimeError):
    """What the user asked for was tried and did not succeed; the message says why."""


class Settings(BaseSettings):
    """Where a run is kept and computed."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    store: str = Field(default="runs", description="Directory, or URL: file:///path or s3://bucket/prefix.")
    study: str | None = Field(default=None, description="Optuna database URL; default: study.db beside a local store.")
    engine: str = Field(default="local", description="local, or the address of a Dask scheduler: tcp://host:8786.")
    workers: int | None = Field(default=None, ge=1, description="Local worker processes; default: one per core.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Device that members learn on.")
    member_deadline: float = Field(default=3600, gt=0, description="Seconds that one phase of a member may take.")
    member_memory: ByteSize | None = Field(
        default=None,
        ge=2**28,
        description="Memory of a worker process, such as 4GiB; default: its share of the machine.",
    )
    keep_generations: int | None = Field(
        default=None, ge=1, description="Release checkpoints older than this many generations; default: keep all."
    )
    track: str = Field(default="", description="Trackers, separated by commas: csv, tensorboard, wandb, mlflow.")
    env_packages: str = Field(
        default="minigrid",
        description="Packages, separated by commas, that may be imported for environments named package.module:Id.",
    )

    @field_validator("engine")
    @classmethod
    def _check_engine(cls, value: str) -> str:
        if value != "local" and urlsplit(value).scheme not in ("tcp", "tls"):
            raise ValueError(f"expected local or a scheduler's address such as tcp://host:8786, got {value!r}")
        return value

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        if "://" in value and urlsplit(value).scheme not in ("file", "s3"):
            raise ValueError(f"expected a directory, or a URL that begins with file:// or s3://, got {value!r}")
        return value

    @field_validator("track")
    @classmethod
    def _check_track(cls, value: str) -> str:
        names = _listed(value)
        if unknown := [name for name in names if name not in TRACKERS]:
            raise ValueError(f"expected names out of {', '.join(TRACKERS)}, separated by commas, got {unknown[0]!r}")
        return ",".join(dict.fromkeys(names))

    @property
    def store_url(self) -> str:
        """The store as a URL; a plain path becomes file://."""
        return self.store if "://" in self.store else Path(self.store).absolute().as_uri()

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that may be imported for an environment's sake."""
        return _listed(self.env_packages)

    @property
    def trackers(self) -> tuple[str, ...]:
        """Trackers that are told of the run."""
        return _listed(self.track)

    def check_trackers(self) -> None:
        """Refuse a tracker that is not installed; BadInput names what to install."""
        for name in self.trackers:
            try:
                make_tracker(name)
            except MissingExtra as error:
                raise BadInput(f"--track: {error}") from None

    def check_reach(self, prefect_api: str | None) -> None:
        """Refuse what workers on other machines could not reach; BadInput says what to set instead."""
        host = urlsplit(self.engine).hostname
        if self.engine == "local" or host in ("localhost", "127.0.0.1", "::1", socket.gethostname()):
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
            return self.study if "://" in self.study else f"sqlite:///{Path(self.study).absolute()}"
        return f"sqlite:///{self._local_directory / 'study.db'}"

    @property
    def tracking_directory(self) -> Path:
        """Where trackers keep what they keep in files: in the local store's directory, or in ./runs."""
        return self._local_directory / "tracking"

    @property
    def artifact_directory(self) -> Path:
        """Where the study's videos lie: in the local store's directory, or in ./runs."""
        return self._local_directory / "artifacts"

    @property
    def _local_directory(self) -> Path:
        local = urlsplit(self.store_url)
        return Path(unquote(local.path)) if local.scheme == "file" else Path("runs").absolute()

    def worker_count(self, members: int) -> int:
        """Choose how many local workers serve a population: one per core, and no more than members."""
        return min(self.workers or len(os.sched_getaffinity(0)), members)

    def limits(self, members: int) -> Limits:
        """Choose what one phase of a member may take; workers of a cluster elsewhere have no share to guess."""
        memory = self.member_memory
        if memory is None and self.engine == "local":
            memory = ByteSize(MEMORY_LIMIT * USABLE_MEMORY / self.worker_count(members))
        return Limits(self.member_deadline, memory)

    def export(self) -> None:
        """Put the settings into this process's environment, where the flows read them."""
        for name, value in self.model_dump(exclude_none=True).items():
            os.environ[ENV_PREFIX + name.upper()] = str(int(value) if isinstance(value, ByteSize) else value)


def _listed(names: str) -> tuple[str, ...]:
    """Read names that are separated by commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
