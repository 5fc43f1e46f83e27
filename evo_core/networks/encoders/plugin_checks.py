"""Checks of a plugin's encoder: the requirements of evolution and of bitwise reproducibility."""

from collections.abc import Iterator

import torch
from torch import Tensor

from evo_core.config.run_config import RunConfig
from evo_core.genome.encoders import PluginArchitecture
from evo_core.genome.genome import initial_genome
from evo_core.networks.encoders.plugin_encoder import PluginFeatures
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import ENCODER
from evo_core.plugins.loading import PluginError
from evo_core.spaces.observations import Leaf, ObservationLayout
from evo_core.spaces.spaces import Spaces

ROWS, FIRST = 8, 3
TOLERANCE = 1e-4
"""Largest difference that another number of rows may make, relative to the larger of one and the number itself."""


def require_sound_encoder(config: RunConfig, spaces: Spaces) -> None:
    """Build the encoder of every leaf that a configuration gives to a plugin; PluginError says what is wrong."""
    layout = ObservationLayout(spaces.observation)
    encoder = initial_genome(config, spaces.observation).architecture.encoder
    for leaf in layout.leaves:
        architecture = _of_leaf(encoder, leaf)
        if isinstance(architecture, PluginArchitecture):
            require_sound(architecture, leaf)


def require_sound(architecture: PluginArchitecture, leaf: Leaf) -> None:
    """Build a plugin's module for a leaf and try it; PluginError says what is wrong and what to do."""
    made, again = (PluginFeatures("encoder", architecture, leaf) for _ in range(2))
    if problem := next(_problems(made, again), None):
        package = package_of(ENCODER, architecture.name) or "of no installed package"
        raise PluginError(f"encoder {architecture.name} ({package}), inputs {list(made.shape)}: {problem}")


def _problems(made: PluginFeatures, again: PluginFeatures) -> Iterator[str]:
    """Find what is wrong with a module, which was made twice."""
    if not _are_equal(_tensors(made), _tensors(again)):
        yield "made twice it differs; draw from torch's global generator alone, which is seeded for you"
    inputs = torch.randn((ROWS, *made.shape), generator=torch.Generator().manual_seed(0))
    buffers = {name: buffer.clone() for name, buffer in made.inner.named_buffers()}
    with torch.no_grad():
        features, repeated, first = made.compute(inputs), made.compute(inputs), made.compute(inputs[:FIRST])
    if not bool(torch.isfinite(features).all()):
        yield "its features of standard normal inputs are not finite"
    if not _are_equal(buffers, dict(made.inner.named_buffers())):
        yield "it changes its buffers when it is called (batch normalization does); use nn.LayerNorm or nn.GroupNorm"
    if not torch.equal(features, repeated):
        yield "called twice it gives other features (dropout does); leave out what draws random numbers"
    gap = (features[:FIRST] - first).abs() / features[:FIRST].abs().clamp(min=1)
    if float(gap.max()) > TOLERANCE:
        yield "the features of a row depend on the other rows; compute every row by itself"


def _of_leaf(encoder: object, leaf: Leaf) -> object:
    """Return the architecture of a leaf, below those that hold others."""
    inner = getattr(encoder, "features", None)
    parts = getattr(inner or encoder, "parts", None)
    return parts[leaf.name] if parts is not None else inner or encoder


def _tensors(features: PluginFeatures) -> dict[str, Tensor]:
    return {**dict(features.inner.named_parameters()), **dict(features.inner.named_buffers())}


def _are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
