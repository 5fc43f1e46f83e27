"""A reference to a run, small enough to be sent with every task."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evo_core.config.plugin_fields import MissingPluginError, require_plugins
from evo_core.config.run_config import RunConfig
from evo_core.plugins.kinds import PluginKind
from evo_core.records.chain import Generation
from tasks.runs import layout
from tasks.runs.run_store import RunStore
from tasks.store import StoreError, open_store
from tasks.worker.limits import Limits

if TYPE_CHECKING:
    import torch

    from evo_core.envs.inspection import EnvSpec


@contextmanager
def versions_of_plugins(run: RunStore) -> Iterator[None]:
    """Add to a MissingPluginError of the body which packages the run was made with, if it exists."""
    try:
        yield
    except MissingPluginError as error:
        recorded = ""
        with suppress(StoreError):
            recorded = run.numerics_of(layout.commit(0), Generation).get("plugins", "")
        raise error.with_versions(recorded) from error


def new_session() -> str:
    """Return a unique id for an attempt at a generation."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class RunRef:
    """Everything that a task on any machine needs to work on a run. Holds no credentials: stores find their own.

    `env_packages` may be imported for the environment, from `env_directories` too. `session` distinguishes the events
    of one attempt at a generation from those of earlier ones.
    """

    store_url: str
    run_id: str
    config: RunConfig
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)
    env_packages: tuple[str, ...] = ()
    env_directories: tuple[str, ...] = ()
    session: str = field(default_factory=new_session)

    def resolve_device(self) -> "torch.device":
        """Resolve `auto` to the device of this machine."""
        import torch

        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def environment(self, *, plugins: bool = True) -> "EnvSpec":
        """Inspect the run's environment; its packages are imported only if they are allowed.

        Without `plugins`, those of its configuration need not be installed. ConfigError names missing versions.
        """
        from evo_core.envs.inspection import inspect_environment
        from evo_core.envs.making import append_module_path

        append_module_path(self.env_directories)
        with versions_of_plugins(self.open()):
            return inspect_environment(self.config, self.env_packages, plugins=plugins)

    def require_plugins(self, *kinds: PluginKind) -> None:
        """Raise ConfigError unless the configuration's plugins of these kinds, or all, are installed here."""
        from evo_core.envs.making import append_module_path

        append_module_path(self.env_directories)
        with versions_of_plugins(self.open()):
            require_plugins(self.config, self.env_packages, kinds or None)

    def open(self) -> RunStore:
        """Open the run in its store, from this process."""
        return RunStore(open_store(self.store_url), self.run_id, self._numerics)

    def _numerics(self) -> dict[str, str]:
        from evo_core.numerics.provenance import numerics

        return numerics(self.resolve_device(), self.config)
