"""Operational settings that flags of the command line can set, each declared once.

`flows/settings.py` reads them from the environment and checks them; the command line derives its flags from them
(`flows/cli/arguments.py`), and the documentation its table. Imports nothing heavy.
"""

from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from evo_core.config.bounds import (
    LONGEST_ADDRESS,
    LONGEST_NAME,
    LONGEST_S,
    MOST_GENERATIONS,
    SAFE_INTEGER,
)
from tasks.views.trackers import TRACKERS

ENV_PREFIX = "EVOLVE_"
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Address = Annotated[str, Field(max_length=LONGEST_ADDRESS)]


def setting(default: Any, description: str, *, unset: str = "", **bounds: Any) -> Any:
    """Declare a setting; `unset` says what holds without a value, where the default itself does not."""
    return Field(
        default=default, description=description, json_schema_extra={"unset": unset} if unset else None, **bounds
    )


class OperationalSettings(BaseSettings):
    """Operational settings: where a run is stored and computed."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    store: Address = setting("runs", "Where runs are kept: a directory, file:///… or s3://bucket/prefix.")
    study: Address | None = setting(
        None, "Optuna database of the lineage.", unset="sqlite: study.db in a local store, else in ./runs"
    )
    engine: Address = setting(
        "local", "local, a Dask scheduler (tcp://host:8786, tls://…) or a cluster class (package.Class)."
    )
    workers: Name | None = setting(
        None, "Worker processes: 4, or 1..4 as members need them.", unset="one per GPU, else per core"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Device to learn on.")
    numerics: Literal["native", "portable"] = setting(
        "native", "portable: the same bits on processors of all makers; slower for large networks."
    )
    member_deadline: float = setting(
        3600, "Seconds that training or evaluating one member may take.", gt=0, le=LONGEST_S
    )
    member_memory: ByteSize | None = setting(
        None,
        "Memory that a worker may take, such as 4GiB.",
        unset="its share of the machine",
        ge=2**28,
        le=SAFE_INTEGER,
    )
    keep_generations: int | None = setting(
        None,
        "Release checkpoints older than this many generations, all elites excepted.",
        unset="keep all",
        ge=1,
        le=MOST_GENERATIONS,
    )
    track: Name = setting("", f"Trackers, separated by commas: {', '.join(TRACKERS)}.", unset="none")
    env_path: Address = setting(
        "", "Directories, separated as in PATH, that hold packages of your own environments, on workers too."
    )
