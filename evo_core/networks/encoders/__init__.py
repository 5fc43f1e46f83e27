"""Encoders by kind. A new kind is one file with these members, and one line here."""

from gymnasium import Space

from evo_core.networks.encoders.mlp import MlpEncoder

ENCODERS: dict[str, type[MlpEncoder]] = {"mlp": MlpEncoder}


def encoder_for(observation_space: Space) -> type[MlpEncoder]:
    """Choose the encoder of an observation space; ValueError lists what is supported."""
    for encoder in ENCODERS.values():
        if encoder.supports(observation_space):
            return encoder
    supported = "; ".join(encoder.SUPPORTED for encoder in ENCODERS.values())
    raise ValueError(f"observation space {observation_space} is not supported; supported: {supported}")
