"""Encoders of plugins: features that a plugin computes, followed by hidden layers of ours."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evo_core.config.network import Activation
from evo_core.genome.encoders import PluginArchitecture
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS, Backward
from evo_core.networks.encoders.encoder import Encoder
from evo_core.networks.inputs import Tensors, as_image, as_vector
from evo_core.networks.recurrence import Sequences
from evo_core.networks.stack import HIDDEN_GAIN, Axis, AxisTable, Stack, chain
from evo_core.plugins.installed import package_of
from evo_core.plugins.kinds import ENCODER
from evo_core.plugins.loading import PluginError, load
from evo_core.spaces.observations import Leaf

SEED_OF_CONSTRUCTION = 0
"""Seed under which a plugin's module is made: what is drawn for its buffers is the same in every process."""


class EncoderPlugin(Protocol):
    """An encoder of a plugin. Its constructor takes `network.encoder.options` as keyword arguments."""

    def features(self, shape: tuple[int, ...]) -> nn.Module:
        """Make a module from [N, *shape] to [N, features], both float32.

        `shape` is (D,) for vectors, with indices one-hot, or (C, H, W) for images, both scaled to [0, 1] where their
        space has bounds of bytes. Raise ValueError for a shape that it does not encode. Weights may be drawn from
        torch's global generator, which is seeded here; buffers must be constants, and rows must not affect each other.
        """
        ...


class PluginFeatures(nn.Module):
    """A plugin's module, whose parameters have fixed axes: they are inherited as they are, and never resized."""

    def __init__(self, name: str, architecture: PluginArchitecture, leaf: Leaf) -> None:
        super().__init__()
        self._name, self._architecture, self._leaf = name, architecture, leaf
        self.shape = tuple(leaf.image_shape) if leaf.image else (leaf.vector_size,)
        self.inner = self._made(SEED_OF_CONSTRUCTION)
        for module in self.inner.modules():
            module._non_persistent_buffers_set.update(module._buffers)  # constants: checkpoints hold parameters alone
        self.size = self._count_features()

    def forward(self, values: Tensor) -> Tensor:
        """Map rows of the leaf to features, [N, size]."""
        inputs = as_image(self._leaf, values) if self._leaf.image else as_vector(self._leaf, values)
        features: Tensor = self.inner(inputs)
        return features

    def compute(self, inputs: Tensor) -> Any:
        """Call the plugin's module on [N, *shape]; PluginError names it if it raises."""
        try:
            return self.inner(inputs)
        except Exception as error:  # plugins raise any exception
            said = f"for inputs {list(inputs.shape)}: {type(error).__name__}: {error}"
            raise PluginError(f"{_shown(self._architecture)}: {said}") from error

    def axes(self) -> AxisTable:
        """Return the axis label of each dimension of each parameter."""
        return {
            f"inner.{name}": tuple(
                Axis(f"{self._name}.{name}.{dimension}", size) for dimension, size in enumerate(parameter.shape)
            )
            or (Axis(f"{self._name}.{name}", 1),)
            for name, parameter in self.inner.named_parameters()
        }

    def initialize(self, generator: torch.Generator) -> None:
        """Take the weights of another module that the plugin makes under a seed drawn here."""
        seed = int(torch.randint(2**62, (), generator=generator))
        for mine, drawn in zip(self.inner.parameters(), self._made(seed).parameters(), strict=True):
            mine.copy_(drawn)

    def _made(self, seed: int) -> nn.Module:
        """Have the plugin make its module while the global generator, from which torch's layers draw, has a seed."""
        architecture = self._architecture
        plugin: EncoderPlugin = load(ENCODER, architecture.name, architecture.options)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                made: Any = plugin.features(self.shape)
            except Exception as error:  # plugins raise any exception
                raise PluginError(f"{_shown(architecture)}: {type(error).__name__}: {error}") from error
        if not isinstance(made, nn.Module):
            raise PluginError(f"{_shown(architecture)}: expected a torch.nn.Module from features, got {made!r:.200}")
        return made

    def _count_features(self) -> int:
        parameter = next(self.inner.parameters(), next(self.inner.buffers(), torch.empty(0)))
        with torch.no_grad():
            found = self.compute(torch.zeros((2, *self.shape), device=parameter.device))
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2 or found.dtype != torch.float32:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else repr(found)
            raise PluginError(
                f"{_shown(self._architecture)}: expected float32 [2, features] from inputs {[2, *self.shape]}, got "
                f"{got:.200}; end the module with nn.Flatten() or a linear layer"
            )
        return found.shape[1]


class PluginEncoder(Encoder):
    """σ(Stack(features(observation))): to [N, outputs]. The plugin's part is differentiated by autograd."""

    def __init__(
        self,
        name: str,
        leaf: Leaf,
        architecture: PluginArchitecture,
        outputs: Axis,
        activation: Activation,
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        self.leaf = leaf
        self.features = PluginFeatures(f"{name}.plugin", architecture, leaf)
        features = Axis(f"{name}.features", self.features.size)
        self.stack = Stack(name, features, architecture.layers, outputs, activation, HIDDEN_GAIN)
        self.activation = ACTIVATIONS[activation] if activate else None
        self.gradient = GRADIENTS[activation]

    def forward(self, observations: Tensors, sequences: Sequences | None = None) -> Tensor:
        """Encode a batch of observations."""
        h = self.stack.forward(self.features(observations[self.leaf.name]))
        return h if self.activation is None else self.activation(h)

    def vjp(self, observations: Tensors, sequences: Sequences | None = None) -> tuple[Tensor, Backward]:
        """Encode a batch of observations; return the backward function too."""
        with torch.enable_grad():
            features: Tensor = self.features(observations[self.leaf.name])
        learns = features.requires_grad
        z, backward = self.stack.vjp(features.detach(), inputs=learns)

        def into_plugin(grad: Tensor) -> Tensor:
            if learns:
                torch.autograd.backward(features, grad)
            return grad

        return self._activate(z, chain([into_plugin, backward]))


def _shown(architecture: PluginArchitecture) -> str:
    package = package_of(ENCODER, architecture.name) or "of no installed package"
    return f"encoder {architecture.name} ({package})"
