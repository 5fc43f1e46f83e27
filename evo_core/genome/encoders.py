"""Architectures of encoders by kind: sizes as plain data, how they begin, and the changes that evolution may make.

`evo_core.networks.encoders` builds their modules. To add a kind, add a class and a line in ARCHITECTURES here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import JsonValue, SerializeAsAny

from evo_core.config.network import BoundsConfig, NetworkConfig, require_within
from evo_core.genome.architecture import (
    Change,
    Convolution,
    Layer,
    Layers,
    Record,
    convolution_changes,
    dense_layers,
    layer_changes,
    layer_sizes,
    sizes_within,
)
from evo_core.plugins.kinds import ENCODER
from evo_core.spaces.observations import Leaf, ObservationLayout

CellKind = Literal["lstm", "gru"]


class EncoderArchitecture(Record, ABC):
    """Sizes of an encoder. `kind` names the class in the registry."""

    kind: str

    @abstractmethod
    def changes(self, part: str, bounds: BoundsConfig) -> Sequence[Change[Any]]:
        """List every change that one mutation may make; `part` begins their names."""

    @abstractmethod
    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate, under names that never change: layers, and their nodes, channels or
        units."""


class MlpArchitecture(EncoderArchitecture):
    """Hidden layers before the latent vector."""

    kind: Literal["mlp"] = "mlp"
    layers: Layers

    @classmethod
    def initial(cls, network: NetworkConfig, leaf: Leaf) -> Self:
        """Create the configured encoder's architecture."""
        return cls(layers=dense_layers(network.encoder.hidden_size))

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["MlpArchitecture"]]:
        """List every change that one mutation may make."""
        return [
            c.of(MlpArchitecture(layers=c.result))
            for c in layer_changes(part, self.layers, bounds.layers, bounds.nodes)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate."""
        return layer_sizes(part, self.layers)


class SimbaArchitecture(EncoderArchitecture):
    """The width of the residual stream, which is fixed because it is normalized, and the inner sizes of its blocks."""

    kind: Literal["simba"] = "simba"
    width: int
    layers: Layers

    @classmethod
    def initial(cls, network: NetworkConfig, leaf: Leaf) -> Self:
        """Create the configured encoder's architecture: one block per entry of hidden_size."""
        layers = tuple(Layer(kind="residual", nodes=size) for size in network.encoder.hidden_size)
        return cls(width=network.encoder.width, layers=layers)

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["SimbaArchitecture"]]:
        """List every change that one mutation may make."""
        return [
            c.of(SimbaArchitecture(width=self.width, layers=c.result))
            for c in layer_changes(part, self.layers, bounds.layers, bounds.nodes)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate."""
        return layer_sizes(part, self.layers)


class CnnArchitecture(EncoderArchitecture):
    """Convolutions before the latent vector."""

    kind: Literal["cnn"] = "cnn"
    convolutions: tuple[Convolution, ...]

    @classmethod
    def initial(cls, network: NetworkConfig, leaf: Leaf) -> Self:
        """Create the configured encoder's architecture; ValueError when it lies outside its bounds."""
        encoder, bounds = network.encoder, network.bounds
        require_within("layers of network.encoder.channel_size", len(encoder.channel_size), bounds.layers)
        for channels, kernel in zip(encoder.channel_size, encoder.kernel_size, strict=True):
            require_within("network.encoder.channel_size", channels, bounds.channels)
            require_within("network.encoder.kernel_size", kernel, bounds.kernels)
        sizes = zip(encoder.channel_size, encoder.kernel_size, encoder.stride_size, strict=True)
        return cls(convolutions=tuple(Convolution(kind="plain", channels=c, kernel=k, stride=s) for c, k, s in sizes))

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["CnnArchitecture"]]:
        """List every change that one mutation may make."""
        return [
            c.of(CnnArchitecture(convolutions=c.result)) for c in convolution_changes(part, self.convolutions, bounds)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate."""
        layers = self.convolutions
        return {
            f"{part}.layers": len(layers),
            f"{part}.channels": sum(layer.channels for layer in layers),
            f"{part}.kernels": sum(layer.kernel for layer in layers),
        }


class PluginArchitecture(EncoderArchitecture):
    """The name and the options of a plugin, whose features never change, and the hidden layers after them.

    It is plain data: a family tree is read and checked where the plugin is not installed.
    """

    kind: Literal["plugin"] = "plugin"
    name: str
    options: dict[str, JsonValue]
    layers: Layers

    @classmethod
    def initial(cls, network: NetworkConfig, leaf: Leaf) -> Self:
        """Create the configured encoder's architecture."""
        encoder = network.encoder
        return cls(name=encoder.kind, options=encoder.options, layers=dense_layers(encoder.hidden_size))

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["PluginArchitecture"]]:
        """List every change that one mutation may make: of the hidden layers."""
        return [
            c.of(self.model_copy(update={"layers": c.result}))
            for c in layer_changes(part, self.layers, bounds.layers, bounds.nodes)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate."""
        return layer_sizes(part, self.layers)


Part = Annotated[SerializeAsAny[EncoderArchitecture], "of one leaf"]


class MultiInputArchitecture(EncoderArchitecture):
    """An architecture for each leaf, by the leaf's name."""

    kind: Literal["multi_input"] = "multi_input"
    parts: dict[str, Part]

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["MultiInputArchitecture"]]:
        """List every change that one mutation may make: any change of any leaf's encoder."""
        return [
            c.of(MultiInputArchitecture(parts={**self.parts, leaf: c.result}))
            for leaf, inner in self.parts.items()
            for c in inner.changes(f"{part}.{leaf}", bounds)
        ]

    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate."""
        return {name: n for leaf, inner in self.parts.items() for name, n in inner.sizes(f"{part}.{leaf}").items()}


Features = Annotated[SerializeAsAny[EncoderArchitecture], "of one step"]


class RecurrentArchitecture(EncoderArchitecture):
    """Recurrent layers before the latent vector. Vectors are fed in directly; `features` encodes everything else first.

    `max_seq_len` is the length at which backpropagation through time is cut.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: CellKind
    layers: Layers
    max_seq_len: int
    features: Features | None
    feature_dim: int

    def changes(self, part: str, bounds: BoundsConfig) -> list[Change["RecurrentArchitecture"]]:
        """List every change that one mutation may make: of units, layers, and of what comes before them."""
        found: list[Change[RecurrentArchitecture]] = [
            c.of(self.model_copy(update={"layers": c.result}))
            for c in layer_changes(f"{part}.{self.cell}", self.layers, bounds.layers, bounds.units, noun="units")
        ]
        if self.features is not None:
            found += [
                c.of(self.model_copy(update={"features": c.result}))
                for c in self.features.changes(f"{part}.features", bounds)
            ]
            found += [
                Change(f"{part}.feature_dim", self.feature_dim, size, self.model_copy(update={"feature_dim": size}))
                for size in sizes_within(self.feature_dim, bounds.latent_dim)
            ]
        return found

    def sizes(self, part: str) -> dict[str, int]:
        """Return the sizes that may mutate."""
        own = layer_sizes(f"{part}.{self.cell}", self.layers, noun="units")
        if self.features is None:
            return own
        return {**own, **self.features.sizes(f"{part}.features"), f"{part}.feature_dim": self.feature_dim}


class LeafArchitecture(Protocol):
    """An architecture for one leaf."""

    def initial(self, network: NetworkConfig, leaf: Leaf) -> EncoderArchitecture:
        """Create the configured encoder's architecture for a leaf."""
        ...


LEAF_ARCHITECTURES: dict[str, LeafArchitecture] = {
    "mlp": MlpArchitecture,
    "simba": SimbaArchitecture,
    "cnn": CnnArchitecture,
    "plugin": PluginArchitecture,
}
ARCHITECTURES: dict[str, type[EncoderArchitecture]] = {
    "mlp": MlpArchitecture,
    "simba": SimbaArchitecture,
    "cnn": CnnArchitecture,
    "plugin": PluginArchitecture,
    "multi_input": MultiInputArchitecture,
    "recurrent": RecurrentArchitecture,
}


def initial_encoder(network: NetworkConfig, layout: ObservationLayout, *, recurrent: bool) -> EncoderArchitecture:
    """Choose the encoder of an observation space; ValueError when what is configured does not fit it."""
    if network.encoder.kind == "cnn" and not any(leaf.image for leaf in layout.leaves):
        raise ValueError(
            f"network.encoder.kind: cnn needs an image, a Box of three axes, and observation space {layout.space} has "
            "none; use auto"
        )
    known = [leaf.name for leaf in layout.leaves]
    if unknown := sorted(set(network.encoder.leaves) - set(known)):
        raise ValueError(f"network.encoder.leaves: the observation has no {unknown[0]!r}; it has {', '.join(known)}")
    parts = {leaf.name: _for_leaf(network, leaf) for leaf in layout.leaves}
    plain = next(iter(parts.values())) if len(parts) == 1 else MultiInputArchitecture(parts=parts)
    if not recurrent:
        return plain
    encoder, bounds = network.encoder, network.bounds
    require_within("network.encoder.num_layers", encoder.num_layers, bounds.layers)
    require_within("network.encoder.hidden_state_size", encoder.hidden_state_size, bounds.units)
    return RecurrentArchitecture(
        cell=encoder.cell,
        layers=dense_layers((encoder.hidden_state_size,) * encoder.num_layers),
        max_seq_len=encoder.max_seq_len,
        features=None if encoder.kind == "auto" and plain.kind == "mlp" else plain,
        feature_dim=network.latent_dim,
    )


def architecture_by_kind(value: object) -> object:
    """Validate an encoder's architecture, and those within it, by the class that its `kind` names."""
    if not isinstance(value, Mapping):
        return value
    fields: dict[str, Any] = dict(value)
    if isinstance(fields.get("features"), Mapping):
        fields["features"] = architecture_by_kind(fields["features"])
    if isinstance(fields.get("parts"), Mapping):
        fields["parts"] = {leaf: architecture_by_kind(part) for leaf, part in fields["parts"].items()}
    return ARCHITECTURES[fields["kind"]].model_validate(fields)


def _for_leaf(network: NetworkConfig, leaf: Leaf) -> EncoderArchitecture:
    """Return the encoder of a leaf: a plugin's for its leaves, convolutions for images unless `mlp` is configured,
    else the configured kind."""
    kind, leaves = network.encoder.kind, network.encoder.leaves
    if kind not in ENCODER.own and (not leaves or leaf.name in leaves):
        return LEAF_ARCHITECTURES["plugin"].initial(network, leaf)
    if leaf.image:
        return LEAF_ARCHITECTURES["mlp" if kind == "mlp" else "cnn"].initial(network, leaf)
    return LEAF_ARCHITECTURES["simba" if kind == "simba" else "mlp"].initial(network, leaf)
