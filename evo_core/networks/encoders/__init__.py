"""Encoders by kind. A new kind is one file, and one line here."""

from typing import Any

from gymnasium import Space

from evo_core.networks.encoders.base import EncoderArchitecture
from evo_core.networks.encoders.mlp import MlpArchitecture

ENCODERS: dict[str, type[EncoderArchitecture]] = {"mlp": MlpArchitecture}


def encoder_for(observation_space: Space[Any]) -> type[EncoderArchitecture]:
    """Choose the encoder of an observation space; ValueError lists what is supported."""
    for encoder in ENCODERS.values():
        if encoder.supports(observation_space):
            return encoder
    supported = "; ".join(encoder.SUPPORTED for encoder in ENCODERS.values())
    raise ValueError(f"observation space {observation_space} is not supported; supported: {supported}")
