"""Conversion of AgileRL's encoder_config and head_config; their bounds apply to all parts of our networks."""

from evo_core.config.network import ACTIVATION_NAMES, BoundsConfig, EncoderConfig, HeadConfig, NetworkConfig
from evo_core.config.parsing import ConfigError
from evo_core.importers.agilerl.manifest import Given, Manifest
from evo_core.importers.agilerl.notes import Notes

ENCODER, HEAD = "network.encoder_config", "network.head_config"
PARTS = (ENCODER, f"{ENCODER}.mlp_config", f"{ENCODER}.cnn_config", HEAD)
BOUNDS = {
    "layers": ("hidden_layers", "layers", "blocks", "cnn_hidden_layers"),
    "nodes": ("mlp_nodes",),
    "channels": ("channel_size",),
    "units": ("hidden_state_size", "lstm_size"),
}
"""Our bounds, and how AgileRL names theirs behind min_ and max_."""

SIMBA_SCALE = 4

Section = dict[str, object]
Bounds = dict[str, tuple[int, int]]


def convert_network(manifest: Manifest, notes: Notes) -> Section:
    """Convert a network; missing fields keep our defaults."""
    network: Section = {"share_encoder": manifest.value("algorithm.share_encoders", True)}
    for name in ("latent_dim", "squash_output"):
        if (value := manifest.value(f"network.{name}")) is not None:
            network[name] = value
    encoder = _simba(manifest, notes) or _encoder(manifest, notes)
    for place in ("algorithm", ENCODER):
        if (length := manifest.value(f"{place}.max_seq_len")) is not None:
            encoder["max_seq_len"] = length
    encoder |= _activation(manifest, notes)
    head: Section = {}
    if (sizes := manifest.take(f"{HEAD}.hidden_size")) is not None:
        head["hidden_size"] = sizes.value
    if not manifest.below("network."):
        notes.imply("network", "our defaults", "no network is given")
    bounds = _bounds(manifest, notes, network, encoder, head)
    _fill(notes, network, encoder, head, bounds)
    parts = {"encoder": encoder, "head": head, "bounds": {name: list(pair) for name, pair in bounds.items()}}
    return {**network, **{name: part for name, part in parts.items() if part}}


def _encoder(manifest: Manifest, notes: Notes) -> Section:
    encoder: Section = {}
    for part in PARTS[:-1]:
        for name in ("hidden_size", "channel_size", "stride_size", "hidden_state_size", "num_layers"):
            if (found := manifest.take(f"{part}.{name}")) is not None:
                encoder[name] = found.value
        if (kernels := manifest.take(f"{part}.kernel_size")) is not None:
            sides = [_side(kernels, kernel) for kernel in _numbers(kernels)]
            encoder["kernel_size"] = [side + 1 - side % 2 for side in sides]
            notes.change(
                kernels,
                "network.encoder.kernel_size",
                sides,
                encoder["kernel_size"],
                "kernels are odd here, so that they have a center to grow around; the image is padded",
            )
    return encoder


def _simba(manifest: Manifest, notes: Notes) -> Section | None:
    """Read a SimBa encoder: its hidden_size is one number, the width of the stream."""
    asked, arch = manifest.value("network.simba"), manifest.value("network.arch")
    if not asked and arch != "simba" and manifest.given.get(f"{ENCODER}.num_blocks") is None:
        return None
    width, blocks = manifest.number(f"{ENCODER}.hidden_size", 64), manifest.number(f"{ENCODER}.num_blocks", 1)
    scale = manifest.number(f"{ENCODER}.scale_factor", SIMBA_SCALE)
    notes.imply(
        "network.encoder.width", width, "here mutations change the inner nodes of SimBa's blocks, never its width"
    )
    return {"kind": "simba", "width": width, "hidden_size": [width * scale] * blocks}


def _activation(manifest: Manifest, notes: Notes) -> Section:
    """One activation serves the whole network: the first that is given."""
    given = [found for part in PARTS if (found := manifest.take(f"{part}.activation")) is not None]
    if not given:
        return {}
    chosen = given[0].value if given[0].value in ACTIVATION_NAMES else "ReLU"
    for found in given:
        notes.change(
            found,
            "network.encoder.activation",
            found.value,
            chosen,
            f"one activation serves the whole network, and is one of {', '.join(ACTIVATION_NAMES)}",
        )
    return {"activation": chosen}


def _bounds(manifest: Manifest, notes: Notes, network: Section, encoder: Section, head: Section) -> Bounds:
    """Return the widest of the given bounds, or our defaults; the initial network must lie within them."""
    stacks = [_all(encoder.get("hidden_size")), _all(head.get("hidden_size")), _all(encoder.get("channel_size"))]
    initial: dict[str, list[object]] = {
        "layers": [*(len(stack) for stack in stacks if stack), encoder.get("num_layers")],
        "nodes": [*stacks[0], *stacks[1]],
        "channels": stacks[2],
        "kernels": _all(encoder.get("kernel_size")),
        "units": [encoder.get("hidden_state_size")],
        "latent_dim": [network.get("latent_dim")],
    }
    bounds: Bounds = {}
    for name, values in initial.items():
        default = _default_bounds(name)
        lows, highs = (_given_bounds(manifest, name, end) for end in ("min", "max"))
        inside = [value for value in values if isinstance(value, int)]
        wide = (min([*(lows or default[:1]), *inside]), max([*(highs or default[1:]), *inside]))
        if wide != default:
            bounds[name] = wide
        if {*lows} - {wide[0]} or {*highs} - {wide[1]}:
            why = "one pair of bounds serves all parts, and holds the initial network"
            notes.imply(f"network.bounds.{name}", list(wide), f"given are {lows} to {highs}: {why}")
    return bounds


def _given_bounds(manifest: Manifest, name: str, end: str) -> list[int]:
    """List what all parts of the network give for one end of one of our bounds."""
    if name == "latent_dim":
        places = [f"network.{end}_latent_dim"]
    else:
        places = [f"{part}.{end}_{theirs}" for part in PARTS for theirs in BOUNDS.get(name, ())]
    return [manifest.number(place, 0) for place in places if manifest.take(place)]


def _fill(notes: Notes, network: Section, encoder: Section, head: Section, bounds: Bounds) -> None:
    """Write sizes that are not given where our defaults lie outside the given bounds."""
    fields = NetworkConfig.model_fields
    latent = _within(bounds, "latent_dim", fields["latent_dim"].default)
    if "latent_dim" not in network and latent != fields["latent_dim"].default:
        network["latent_dim"] = latent
        notes.imply("network.latent_dim", latent, "not given: the nearest within its bounds")
    for name, part, default in (("encoder", encoder, EncoderConfig), ("head", head, HeadConfig)):
        (size,) = default.model_fields["hidden_size"].default
        sizes = [_within(bounds, "nodes", size)] * _within(bounds, "layers", 1)
        if "hidden_size" not in part and sizes != [size]:
            part["hidden_size"] = sizes
            notes.imply(f"network.{name}.hidden_size", sizes, "not given: the nearest within its bounds")


def _within(bounds: Bounds, name: str, value: int) -> int:
    low, high = bounds.get(name, _default_bounds(name))
    return min(max(value, low), high)


def _default_bounds(name: str) -> tuple[int, int]:
    default: tuple[int, int] = BoundsConfig.model_fields[name].default
    return default


def _all(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _numbers(given: Given) -> list[object]:
    if not isinstance(given.value, list | tuple):
        raise ConfigError([f"{given.path}: expected a list such as [3, 3], got {given.value!r}"])
    return list(given.value)


def _side(given: Given, kernel: object) -> int:
    """Read the side of a kernel: a number, or two equal ones."""
    sides = set(kernel) if isinstance(kernel, list | tuple) else {kernel}
    side = next(iter(sides))
    if len(sides) > 1 or not isinstance(side, int):
        raise ConfigError([f"{given.path}: expected square kernels, got {kernel!r}"])
    return side
