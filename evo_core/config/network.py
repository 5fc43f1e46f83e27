"""The network section of the configuration, and the bounds within which evolution may change networks."""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from evo_core.config.bounds import MOST_ENTRIES, MOST_LAYERS, Arguments, Sizes, bounded
from evo_core.config.sections import Name, Section, unless
from evo_core.plugins.kinds import ENCODER
from evo_core.plugins.naming import PluginName


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError(f"expected an odd number, so that a kernel has a center to grow around, got {side}")
    return side


Activation = Literal["ReLU", "Tanh", "ELU", "GELU", "SiLU"]
ACTIVATION_NAMES: tuple[Activation, ...] = get_args(Activation)
Nodes = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Kernel = Annotated[int, Field(ge=1, le=63), AfterValidator(_odd)]
Stride = Annotated[int, Field(ge=1, le=16)]


class EncoderConfig(Section):
    """Encoder from observation to latent vector. Every leaf of an observation gets an encoder of its own: convolutions
    for images, hidden layers for all else.
    """

    model_config = ConfigDict(title="Encoder")

    kind: Annotated[str, PluginName(ENCODER)] = Field(
        default="auto",
        description="auto: convolutions for images, an MLP for all else; mlp: no convolutions; simba: a residual MLP; "
        "or a plugin's.",
    )
    options: Arguments = Field(
        default_factory=dict, exclude_if=unless({}), description="Keyword arguments of a plugin's encoder."
    )
    leaves: tuple[Name, ...] = Field(
        default=(),
        exclude_if=unless(()),
        max_length=MOST_ENTRIES,
        description="Leaves that a plugin encodes, by name; all others are encoded as by auto. [] = all.",
    )
    hidden_size: tuple[Nodes, ...] = bounded(
        "Nodes of each hidden layer; simba: inner nodes of each block.",
        Nodes,
        default=(64,),
        min_length=1,
        max_length=MOST_LAYERS,
    )
    activation: Activation = Field(default="ReLU", description="Activation of the whole network; it may mutate.")
    width: Nodes = bounded("Width of simba's residual stream, which never mutates.", Nodes, default=64)
    channel_size: tuple[Nodes, ...] = bounded(
        "Images: channels of each convolution.", Nodes, default=(16, 32), min_length=1, max_length=MOST_LAYERS
    )
    kernel_size: tuple[Kernel, ...] = bounded(
        "Images: side of each kernel, an odd number.", Kernel, default=(3, 3), min_length=1, max_length=MOST_LAYERS
    )
    stride_size: tuple[Stride, ...] = bounded(
        "Images: stride of each convolution.", Stride, default=(2, 2), min_length=1, max_length=MOST_LAYERS
    )
    cell: Literal["lstm", "gru"] = Field(default="lstm", description="Recurrent policies: kind of the cells.")
    hidden_state_size: Nodes = bounded("Recurrent policies: units of each recurrent layer.", Nodes, default=64)
    num_layers: int = bounded("Recurrent policies: recurrent layers.", default=1, ge=1, le=16)
    max_seq_len: int = bounded(
        "Recurrent policies: steps of backpropagation through time.", default=32, ge=1, le=65_536
    )

    @model_validator(mode="after")
    def _check_plugin(self) -> Self:
        given = [name for name in ("options", "leaves") if getattr(self, name)]
        if given and self.kind in ENCODER.own:
            raise ValueError(f"{given[0]}: only a plugin's encoder has them, and kind is {self.kind}; remove them")
        return self

    @model_validator(mode="after")
    def _check_convolutions(self) -> Self:
        lengths = {len(self.channel_size), len(self.kernel_size), len(self.stride_size)}
        if len(lengths) > 1:
            raise ValueError(
                "channel_size, kernel_size and stride_size: expected one entry each per convolution, got "
                f"{len(self.channel_size)}, {len(self.kernel_size)} and {len(self.stride_size)}"
            )
        return self


class HeadConfig(Section):
    """Heads from latent vector to action distribution and to value."""

    model_config = ConfigDict(title="Heads")

    hidden_size: tuple[Nodes, ...] = bounded(
        "Nodes of each hidden layer.", Nodes, default=(64,), min_length=1, max_length=MOST_LAYERS
    )


class BoundsConfig(Section):
    """Bounds of architecture mutations; the initial network must lie within them."""

    model_config = ConfigDict(title="Bounds")

    layers: tuple[Depth, Depth] = bounded("Fewest and most hidden layers of a part.", Depth, default=(1, 3))
    nodes: tuple[Nodes, Nodes] = bounded("Fewest and most nodes of a hidden layer.", Nodes, default=(16, 512))
    latent_dim: tuple[Nodes, Nodes] = bounded("Smallest and largest latent vector.", Nodes, default=(16, 256))
    channels: tuple[Nodes, Nodes] = bounded("Fewest and most channels of a convolution.", Nodes, default=(8, 128))
    kernels: tuple[Kernel, Kernel] = bounded("Smallest and largest side of a kernel; odd.", Kernel, default=(3, 7))
    units: tuple[Nodes, Nodes] = bounded("Fewest and most units of a recurrent layer.", Nodes, default=(16, 256))

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for name in type(self).model_fields:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: expected [least, most], got [{low}, {high}]; swap them")
        return self


class NetworkConfig(Section):
    """The network that the population starts from."""

    model_config = ConfigDict(title="Network")

    latent_dim: Nodes = bounded("Length of the latent vector between encoder and heads.", Nodes, default=64)
    share_encoder: bool = Field(default=True, description="One encoder for policy and value, or one each.")
    squash_output: bool = Field(
        default=False, description="Squash continuous actions into their bounds by tanh, instead of clipping them."
    )
    encoder: EncoderConfig = Field(default_factory=EncoderConfig, description="From observation to latent vector.")
    head: HeadConfig = Field(default_factory=HeadConfig, description="From latent vector to actions, and to value.")
    bounds: BoundsConfig = Field(default_factory=BoundsConfig, description="Bounds of architecture mutations.")
    architecture: Sizes | None = Field(
        default=None,
        exclude_if=unless(None),
        description="Sizes of every part as in a genome's architecture: encoder, latent_dim, actor_head, critic_head. "
        "They take the place of those above; `evolve export --format config` writes them. null = as above.",
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        for part, sizes in (("encoder", self.encoder.hidden_size), ("head", self.head.hidden_size)):
            require_within(f"layers of {part}.hidden_size", len(sizes), self.bounds.layers)
            for size in sizes:
                require_within(f"{part}.hidden_size", size, self.bounds.nodes)
        require_within("latent_dim", self.latent_dim, self.bounds.latent_dim)
        return self


def require_within(name: str, value: int, bounds: tuple[int, int]) -> None:
    """Raise ValueError unless a part of the network lies within the bounds of its mutations."""
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"{name}: expected {bounds[0]} to {bounds[1]} (network.bounds), got {value}")
