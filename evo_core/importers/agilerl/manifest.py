"""Readers of AgileRL configurations: training manifests, and the older INIT_HP, MUTATION_PARAMS and NET_CONFIG.

Both have the same fields under different names. Here every value gets the manifest's name and keeps its path.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from evo_core.config.bounds import SAFE_INTEGER
from evo_core.config.parsing import ConfigError

Fields = Mapping[str, object]

SECTIONS = {
    "init_hp": "",  # fields of all sections, distinguished by HOMES
    "mut_p": "mutation",
    "mutation_params": "mutation",
    "mut_params": "mutation",
    "mutation": "mutation",
    "net_config": "network",
    "network": "network",
    "hp_config": "search",
    "algorithm": "algorithm",
    "environment": "environment",
    "training": "training",
    "selection_strategy": "selection",
    "tournament_selection": "selection",
}
"""Section of the configuration for each section of a file, by its lower-case name."""

HOMES = {
    **dict.fromkeys(("env_name", "num_envs"), "environment"),
    **dict.fromkeys(("max_steps", "evo_steps", "eval_steps", "eval_loop", "pop_size", "target_score"), "training"),
    **dict.fromkeys(("tournament_size", "elitism"), "selection"),
}
"""Section of each field of INIT_HP; all others belong to the algorithm."""

ALIASES = {
    "env_name": "name",
    "algo": "name",
    "population_size": "pop_size",
    "metrics_interval": "evo_steps",
    "target": "target_score",
    "tourn_size": "tournament_size",
    "no_mut": "no_mutation",
    "arch_mut": "architecture",
    "new_layer": "new_layer_prob",
    "params_mut": "parameters",
    "act_mut": "activation",
    "rl_hp_mut": "rl_hp",
    "mut_sd": "mutation_sd",
    "config": "env_config",
    "wrappers": "env_wrappers",
}
"""Other names of fields outside of networks."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and its path in the file."""

    path: str
    value: object


@dataclass(slots=True)
class Manifest:
    """Values by section and name, such as training.max_steps; those already read are `used`."""

    given: dict[str, Given]
    used: set[str] = field(default_factory=set)

    def take(self, name: str) -> Given | None:
        """Return a value; None if it is missing or null."""
        self.used.add(name)
        found = self.given.get(name)
        return found if found is not None and found.value is not None else None

    def value(self, name: str, default: object = None) -> object:
        """Return a bare value, or the default."""
        found = self.take(name)
        return default if found is None else found.value

    def number(self, name: str, default: int) -> int:
        """Return an integer; raise ConfigError for anything else."""
        found = self.take(name)
        if found is None:
            return default
        if real(found) != int(real(found)):
            raise ConfigError([f"{found.path}: expected a whole number, got {found.value!r}"])
        return int(real(found))

    def below(self, prefix: str) -> dict[str, Given]:
        """List the values below a prefix, by the rest of their names, without taking them."""
        return {name[len(prefix) :]: given for name, given in self.given.items() if name.startswith(prefix)}

    def unused(self) -> Iterator[tuple[str, Given]]:
        """Return the values that were not read."""
        return ((name, given) for name, given in self.given.items() if name not in self.used)


def real(given: Given) -> float:
    """Read a number; ConfigError when it is something else."""
    value = given.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ConfigError([f"{given.path}: expected a number, got {value!r}"])
    if abs(value) > SAFE_INTEGER:
        raise ConfigError([f"{given.path}: expected a number from -{SAFE_INTEGER} to {SAFE_INTEGER}, got more"])
    return value


def read_manifest(content: Mapping[str, object]) -> Manifest:
    """Sort the values of a parsed file; ConfigError when it has none of AgileRL's sections."""
    given: dict[str, Given] = {}
    if not any(str(section).lower() in SECTIONS for section in content):
        raise ConfigError(
            [
                "not a configuration of AgileRL: expected a manifest's sections (algorithm, environment, training, …) "
                f"or INIT_HP, got {', '.join(map(str, content)) or 'nothing'}"
            ]
        )
    for section, fields in content.items():
        about = SECTIONS.get(str(section).lower(), f"unknown.{section}")
        if not isinstance(fields, Mapping):
            given[f"unknown.{section}"] = Given(str(section), fields)
            continue
        for name, found in _fields(about, str(section), fields):
            given[name] = found
    return Manifest(given)


def _fields(about: str, path: str, fields: Fields) -> Iterator[tuple[str, Given]]:
    """Return every value of a section by name; sections may contain others, such as net_config."""
    for key, value in fields.items():
        leaf, place = str(key).lower(), f"{path}.{key}"
        if leaf in ("net_config", "hp_config", "rl_hp_selection") and isinstance(value, Mapping):
            yield from _nested("network" if leaf == "net_config" else "search", place, value)
        elif about == "mutation" and leaf == "probabilities" and isinstance(value, Mapping):
            yield from _fields(about, place, value)
        elif about == "mutation" and leaf[:4] in ("min_", "max_"):
            yield f"search.{leaf[4:]}.{leaf[:3]}", Given(place, value)
        elif about in ("network", "search") or about.startswith("unknown."):
            yield from _nested(about, path, {key: value})
        else:
            name = ALIASES.get(leaf, leaf)
            home = about or HOMES.get(leaf) or HOMES.get(name, "algorithm")
            yield f"{home}.{name}", Given(place, value)


def _nested(about: str, path: str, fields: Fields) -> Iterator[tuple[str, Given]]:
    """Return every value of a tree by its path."""
    for key, value in fields.items():
        name, place = f"{about}.{str(key).lower()}", f"{path}.{key}"
        if isinstance(value, Mapping) and value:
            yield from _nested(name, place, value)
        else:
            yield name, Given(place, value)
