"""Encoders by kind. To add a kind of leaf encoder, add a module and one line here."""

from collections.abc import Mapping
from typing import Any, Protocol

from evo_core.config.network import NetworkConfig, require_within
from evo_core.genome.architecture import dense_layers
from evo_core.networks.encoders.cnn import CnnArchitecture
from evo_core.networks.encoders.encoder import EncoderArchitecture
from evo_core.networks.encoders.mlp import MlpArchitecture
from evo_core.networks.encoders.multi_input import MultiInputArchitecture
from evo_core.networks.encoders.recurrent import RecurrentArchitecture
from evo_core.networks.encoders.simba import SimbaArchitecture
from evo_core.spaces.observations import Layout, Leaf


class LeafArchitecture(Protocol):
    """What an architecture for one leaf offers beside what all do."""

    def initial(self, network: NetworkConfig, leaf: Leaf) -> EncoderArchitecture:
        """Express the configured encoder as an architecture for a leaf."""
        ...


LEAF_ENCODERS: dict[str, LeafArchitecture] = {
    "mlp": MlpArchitecture,
    "simba": SimbaArchitecture,
    "cnn": CnnArchitecture,
}
ENCODERS: dict[str, type[EncoderArchitecture]] = {
    "mlp": MlpArchitecture,
    "simba": SimbaArchitecture,
    "cnn": CnnArchitecture,
    "multi_input": MultiInputArchitecture,
    "recurrent": RecurrentArchitecture,
}


def initial_encoder(network: NetworkConfig, layout: Layout, *, recurrent: bool) -> EncoderArchitecture:
    """Choose the encoder of an observation space; ValueError when what is configured does not fit it."""
    if network.encoder.kind == "cnn" and not any(leaf.image for leaf in layout.leaves):
        raise ValueError(
            f"network.encoder.kind: cnn needs an image, a Box of three axes, and observation space {layout.space} has "
            "none; use auto"
        )
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
    return ENCODERS[fields["kind"]].model_validate(fields)


def _for_leaf(network: NetworkConfig, leaf: Leaf) -> EncoderArchitecture:
    """Images are read by convolutions unless `mlp` is asked for; all else by the kind that is asked for."""
    kind = network.encoder.kind
    if leaf.image:
        return LEAF_ENCODERS["mlp" if kind == "mlp" else "cnn"].initial(network, leaf)
    return LEAF_ENCODERS["simba" if kind == "simba" else "mlp"].initial(network, leaf)
