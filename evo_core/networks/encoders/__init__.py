"""Build encoders from their architectures. To add a kind, add a module and a case here."""

from evo_core.config.network import Activation
from evo_core.genome.encoders import (
    CnnArchitecture,
    EncoderArchitecture,
    MlpArchitecture,
    MultiInputArchitecture,
    PluginArchitecture,
    RecurrentArchitecture,
    SimbaArchitecture,
)
from evo_core.networks.encoders.cnn import CnnEncoder
from evo_core.networks.encoders.encoder import Encoder, Leaves
from evo_core.networks.encoders.mlp import MlpEncoder
from evo_core.networks.encoders.multi_input import MultiInputEncoder
from evo_core.networks.encoders.plugin_encoder import PluginEncoder
from evo_core.networks.encoders.recurrent import RecurrentEncoder
from evo_core.networks.encoders.simba import SimbaEncoder
from evo_core.networks.stack import Axis


def build_encoder(
    architecture: EncoderArchitecture,
    name: str,
    leaves: Leaves,
    outputs: Axis,
    activation: Activation,
    *,
    activate: bool = True,
) -> Encoder:
    """Build an encoder: observations to [N, outputs], with an activation at the end unless disabled.

    `name` begins the labels of its axes.
    """
    match architecture:
        case MlpArchitecture():
            return MlpEncoder(name, leaves[0], architecture.layers, outputs, activation, activate=activate)
        case SimbaArchitecture():
            return SimbaEncoder(name, leaves[0], architecture, outputs, activation, activate=activate)
        case CnnArchitecture():
            return CnnEncoder(name, leaves[0], architecture.convolutions, outputs, activation, activate=activate)
        case PluginArchitecture():
            return PluginEncoder(name, leaves[0], architecture, outputs, activation, activate=activate)
        case MultiInputArchitecture(parts=parts):
            inner = [
                build_encoder(parts[leaf.name], f"{name}.{leaf.name}", (leaf,), outputs, activation, activate=False)
                for leaf in leaves
            ]
            return MultiInputEncoder(inner, activation, activate=activate)
        case RecurrentArchitecture():
            features, inputs = None, Axis(leaves[0].label, leaves[0].vector_size)
            if architecture.features is not None:
                inputs = Axis(f"{name}.features", architecture.feature_dim)
                features = build_encoder(architecture.features, inputs.label, leaves, inputs, activation)
            return RecurrentEncoder(
                name, leaves[0], features, inputs, architecture, outputs, activation, activate=activate
            )
    raise TypeError(f"no encoder is built from {type(architecture).__name__}")
