"""The plugins that a configuration names, and the packages that they come from."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from evo_core.config.parsing import ConfigError
from evo_core.config.run_config import RunConfig
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import ENCODER, FITNESS, MUTATION, SELECTOR, VECTOR_BACKEND, PluginKind
from evo_core.plugins.loading import MissingPlugin, PluginError, import_allowed, load


@dataclass(frozen=True, slots=True)
class Use:
    """A plugin that a configuration names, in the field `where`, with its keyword arguments."""

    where: str
    kind: PluginKind
    name: str
    options: Mapping[str, JsonValue] = field(default_factory=dict)


class MissingPluginError(ConfigError):
    """Raised for a configuration whose plugin is not installed here. `uses` are those that are missing."""

    def __init__(self, problems: list[str], uses: list[Use]) -> None:
        super().__init__(problems)
        self.uses = uses

    def with_versions(self, recorded: str) -> "MissingPluginError":
        """Return the error with the packages under which a run was made, as its numerics record them."""
        known = dict(entry.split(": ", 1) for entry in recorded.split("; ") if ": " in entry)
        made = dict.fromkeys(known[use.name] for use in self.uses if use.name in known)
        advice = [
            f"the run was made with {package}: pip install '{package.replace(' ', '==')}', on every machine of the run"
            for package in made
        ]
        return MissingPluginError([*self.problems, *advice], self.uses)


def plugins_of(config: RunConfig) -> Iterator[Use]:
    """Yield every plugin that a configuration names."""
    encoder = config.network.encoder
    if encoder.kind not in ENCODER.own:
        yield Use("network.encoder.kind", ENCODER, encoder.kind, encoder.options)
    for name in config.mutation.plugins:
        yield Use("mutation.plugins", MUTATION, name, config.mutation.options.get(name, {}))
    if config.selection.method not in SELECTOR.own:
        yield Use("selection.method", SELECTOR, config.selection.method, config.selection.options)
    for where, objective in config.evaluation.named_objectives:
        if objective.plugin is not None:
            yield Use(where, FITNESS, objective.plugin)
    if config.env.vectorization not in VECTOR_BACKEND.own:
        yield Use("env.vectorization", VECTOR_BACKEND, config.env.vectorization)


def plugin_versions(config: RunConfig) -> str:
    """Return the packages of all plugins of a configuration: `fourier: my-plugins 0.1; swap: my-plugins 0.1`.

    Nothing is imported. Modules that belong to no installed package are left out.
    """
    packages = {use.name: package_of(use.kind, use.name) for use in plugins_of(config)}
    return "; ".join(f"{name}: {package}" for name, package in sorted(packages.items()) if package)


def require_plugins(
    config: RunConfig, packages: Collection[str] = (), kinds: Collection[PluginKind] | None = None
) -> None:
    """Create every plugin of a configuration once, or those of some kinds; ConfigError lists what is wrong.

    Modules named package.module:Name are imported only if `packages` holds the package, or the module.
    MissingPluginError if all that is wrong is that some are not installed.
    """
    problems, missing = [], []
    for use in plugins_of(config):
        if kinds is not None and use.kind not in kinds:
            continue
        try:
            import_allowed(use.kind, use.name, packages)
            load(use.kind, use.name, use.options)
        except PluginError as error:
            problems.append(f"{use.where} {use.name!r}: {error}")
            if isinstance(error, MissingPlugin):
                missing.append(use)
    if problems and len(problems) == len(missing):
        raise MissingPluginError(problems, missing)
    if problems:
        raise ConfigError(problems)
