"""The architecture that a configuration gives with all its sizes (`network.architecture`), instead of a simple one."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from evo_core.config.network import BoundsConfig, require_within
from evo_core.genome.architecture import Layers, Record
from evo_core.genome.encoders import EncoderArchitecture, architecture_by_kind

FIELD = "network.architecture"


class Parts(Record):
    """Sizes of the parts of a network that `network.architecture` gives."""

    encoder: Annotated[SerializeAsAny[EncoderArchitecture], BeforeValidator(architecture_by_kind)]
    latent_dim: int
    actor_head: Layers
    critic_head: Layers


def given_parts(given: Mapping[str, Any], expected: EncoderArchitecture, bounds: BoundsConfig) -> Parts:
    """Return the parts with the sizes that are given.

    Raises ValueError unless the encoder has the structure of the `expected` one, which the rest of the configuration
    and the observation space choose, and every size lies within its bounds.
    """
    try:
        parts = Parts.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (FIELD, *first["loc"])))
        raise ValueError(f"{place}: {first['msg'].lower()}; take it from a genome's architecture") from None
    except KeyError as error:
        raise ValueError(f"{FIELD}.encoder.kind: {error} is not a kind of encoder") from None
    wanted, got = _structure(expected.model_dump()), _structure(parts.encoder.model_dump())
    if wanted != got:
        raise ValueError(
            f"{FIELD}.encoder: expected {wanted} for this environment and network.encoder, got {got}; export it from a "
            "run of the same spaces"
        )
    require_within(f"{FIELD}.latent_dim", parts.latent_dim, bounds.latent_dim)
    for name in ("encoder", "actor_head", "critic_head"):
        for place, size, limits in _sizes(f"{FIELD}.{name}", parts.model_dump()[name], bounds):
            require_within(place, size, limits)
    return parts


def _structure(encoder: Mapping[str, Any]) -> str:
    """Describe the kinds of an encoder and of those within it."""
    kind = encoder["kind"]
    if parts := encoder.get("parts"):
        return f"{kind}({', '.join(f'{leaf}: {_structure(part)}' for leaf, part in parts.items())})"
    if kind == "recurrent":
        over = encoder["features"]
        return f"{encoder['cell']}({_structure(over) if over else 'observation'})"
    if kind == "plugin":
        return f"{encoder['name']} with options {encoder['options']}"
    return f"{kind} of width {encoder['width']}" if kind == "simba" else str(kind)


def _sizes(place: str, part: Any, bounds: BoundsConfig) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Yield every size below a part, its place, and the bounds that it must lie in."""
    if isinstance(part, Mapping):
        units = bounds.units if part.get("kind") == "recurrent" else bounds.nodes
        limits = {"nodes": bounds.nodes, "channels": bounds.channels, "kernel": bounds.kernels}
        limits["feature_dim"] = bounds.latent_dim
        for name, value in part.items():
            if name == "options":  # of a plugin
                continue
            if name in limits:
                yield f"{place}.{name}", value, limits[name]
            elif name == "layers" and units is bounds.units:
                yield f"{place}.layers", len(value), bounds.layers
                yield from ((f"{place}.layers.{i}.nodes", layer["nodes"], units) for i, layer in enumerate(value))
            else:
                yield from _sizes(f"{place}.{name}", value, bounds)
    elif isinstance(part, list | tuple):
        yield place, len(part), bounds.layers
        for number, value in enumerate(part):
            yield from _sizes(f"{place}.{number}", value, bounds)
