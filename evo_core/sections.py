"""The sections of the configuration: every field with its bounds, default and description, in this one place."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

Activation = Literal["ReLU", "Tanh", "ELU", "GELU", "SiLU"]
Nodes = Annotated[int, Field(ge=1, le=65_536)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _not_yet(value: bool) -> bool:
    if value:
        raise ValueError("not yet available in this version; set it to false")
    return value


NotYet = Annotated[bool, AfterValidator(_not_yet)]


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnvConfig(Section):
    """The environment that every member trains on."""

    model_config = ConfigDict(title="Environment")

    id: str = Field(min_length=1, description="Id of a registered Gymnasium environment, for example LunarLander-v3.")
    num_envs: int = Field(default=16, ge=1, le=4096, description="Copies stepped together by one member. 1 to 4096.")
    kwargs: dict[str, JsonValue] = Field(default_factory=dict, description="Keyword arguments for the environment.")
    wrappers: list[str] = Field(
        default_factory=list, max_length=0, description="Gymnasium wrappers by name. Not yet available: leave empty."
    )
    vectorization: Literal["auto", "sync"] = Field(default="auto", description="How copies are stepped; auto = sync.")


class AlgorithmConfig(Section):
    """PPO's hyperparameters; every number except action_std_init may evolve (section `search`)."""

    model_config = ConfigDict(title="Algorithm")

    name: Literal["PPO"] = Field(default="PPO", description="The learning algorithm.")
    lr: float = Field(default=1e-3, gt=0, le=1, description="Adam's learning rate; evolution moves it. 0 to 1.")
    batch_size: int = Field(
        default=256, ge=1, le=2**24, description="Steps in a minibatch, at most the rollout. 1 to 16777216."
    )
    learn_step: int = Field(
        default=2048, ge=1, le=2**24, description="Environment steps over all envs per update. 1 to 16777216."
    )
    update_epochs: int = Field(default=10, ge=1, le=1000, description="Passes over each rollout. 1 to 1000.")
    gamma: float = Field(default=0.99, ge=0, le=1, description="Discount factor. 0 to 1.")
    gae_lambda: float = Field(default=0.98, ge=0, le=1, description="Lambda of the advantage estimator. 0 to 1.")
    clip_coef: float = Field(default=0.2, gt=0, le=10, description="Clip range of the probability ratio. 0 to 10.")
    clip_value: bool = Field(default=False, description="Clip value updates by clip_coef too.")
    ent_coef: float = Field(default=0.01, ge=0, le=10, description="Weight of the entropy bonus. 0 to 10.")
    vf_coef: float = Field(default=0.5, ge=0, le=100, description="Weight of the value loss. 0 to 100.")
    max_grad_norm: float = Field(default=0.5, gt=0, le=1e6, description="Gradients are clipped to this norm. 0 to 1e6.")
    target_kl: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Stop an update once an epoch's KL divergence exceeds this; null = never.",
    )
    action_std_init: float = Field(
        default=0.6, gt=0, le=100, description="Initial standard deviation of continuous actions. 0 to 100."
    )
    normalize_observations: NotYet = Field(default=False, description="Normalise observations. Not yet available.")
    normalize_returns: NotYet = Field(default=False, description="Normalise returns. Not yet available.")
    recurrent: NotYet = Field(default=False, description="Recurrent policy. Not yet available.")


class EncoderConfig(Section):
    """From observation to latent vector."""

    model_config = ConfigDict(title="Encoder")

    hidden_size: tuple[Nodes, ...] = Field(default=(64,), min_length=1, description="Nodes of each hidden layer.")
    activation: Activation = Field(default="ReLU", description="Activation of the whole network; it may mutate.")


class HeadConfig(Section):
    """From latent vector to action distribution, and to value."""

    model_config = ConfigDict(title="Heads")

    hidden_size: tuple[Nodes, ...] = Field(default=(64,), min_length=1, description="Nodes of each hidden layer.")


class BoundsConfig(Section):
    """What architecture mutations may reach; the initial network must lie within."""

    model_config = ConfigDict(title="Bounds")

    layers: tuple[Nodes, Nodes] = Field(default=(1, 3), description="Fewest and most hidden layers of a part.")
    nodes: tuple[Nodes, Nodes] = Field(default=(16, 512), description="Fewest and most nodes of a hidden layer.")
    latent_dim: tuple[Nodes, Nodes] = Field(default=(16, 256), description="Smallest and largest latent vector.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for name in ("layers", "nodes", "latent_dim"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: expected [least, most], got [{low}, {high}]; swap them")
        return self


class NetworkConfig(Section):
    """The network that the population starts from."""

    model_config = ConfigDict(title="Network")

    latent_dim: Nodes = Field(default=64, description="Length of the latent vector between encoder and heads.")
    share_encoder: bool = Field(default=True, description="One encoder for policy and value, or one each.")
    squash_output: NotYet = Field(default=False, description="Squash continuous actions by tanh. Not yet available.")
    encoder: EncoderConfig = Field(default_factory=EncoderConfig, description="From observation to latent vector.")
    head: HeadConfig = Field(default_factory=HeadConfig, description="From latent vector to actions, and to value.")
    bounds: BoundsConfig = Field(default_factory=BoundsConfig, description="What architecture mutations may reach.")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        for part, sizes in (("encoder", self.encoder.hidden_size), ("head", self.head.hidden_size)):
            _check_within(f"layers of {part}.hidden_size", len(sizes), self.bounds.layers)
            for size in sizes:
                _check_within(f"{part}.hidden_size", size, self.bounds.nodes)
        _check_within("latent_dim", self.latent_dim, self.bounds.latent_dim)
        return self


class PopulationConfig(Section):
    """How many members, and how they start."""

    model_config = ConfigDict(title="Population")

    size: int = Field(default=6, ge=1, le=100_000, description="Members of every generation. 1 to 100000.")
    init: Literal["identical", "diverse"] = Field(
        default="identical",
        description="identical: the configured genome and one round of mutations of it; diverse: drawn from `search`.",
    )
    min_survivors: int | None = Field(
        default=None, ge=1, description="Fewer finished members than this fail the generation; null = max(1, half)."
    )

    @property
    def required_survivors(self) -> int:
        """Members that must finish for a generation to be committed."""
        return self.min_survivors if self.min_survivors is not None else max(1, self.size // 2)


class TrainingConfig(Section):
    """How much is trained."""

    model_config = ConfigDict(title="Training")

    max_steps: int = Field(
        ge=1, description="Budget: TOTAL training steps of the whole population; evaluation is not counted."
    )
    evo_steps: int = Field(
        default=16_384, ge=1, description="Training steps of each member in a generation; a multiple of env.num_envs."
    )
    target: float | None = Field(
        default=None, description="Stop once the best mean return reaches this on fresh episodes too; null = never."
    )


class EvaluationConfig(Section):
    """How fitness is measured, on environments of its own."""

    model_config = ConfigDict(title="Evaluation")

    episodes: int = Field(default=8, ge=1, le=100_000, description="Episodes per member and generation. 1 to 100000.")
    max_steps: int | None = Field(
        default=None, ge=1, description="Cut an episode after this many steps; null = the environment's own limit."
    )
    deterministic: bool = Field(default=True, description="Take the most likely action instead of a drawn one.")
    confirm_episodes: int = Field(
        default=100, ge=2, le=100_000, description="Fresh episodes that confirm the target and the delivered agent."
    )


class SelectionConfig(Section):
    """Who has offspring."""

    model_config = ConfigDict(title="Selection")

    tournament_size: int = Field(default=2, ge=1, description="Members drawn per tournament; at most population.size.")
    elitism: bool = Field(default=True, description="The best member passes to the next generation unmutated.")
    fitness_window: int = Field(
        default=1, ge=1, le=1000, description="Generations of a lineage whose fitness is averaged for selection."
    )


class MutationConfig(Section):
    """Relative weights of the kinds of mutation, and their sizes."""

    model_config = ConfigDict(title="Mutation")

    no_mutation: Weight = Field(default=0.4, description="Weight of passing unchanged.")
    architecture: Weight = Field(default=0.2, description="Weight of adding or removing nodes, layers or latent units.")
    new_layer_prob: Probability = Field(default=0.2, description="P(a layer is changed | architecture). 0 to 1.")
    parameters: Weight = Field(default=0.2, description="Weight of Gaussian noise on a tenth of the policy's weights.")
    activation: Weight = Field(default=0.0, description="Weight of another activation function.")
    rl_hp: Weight = Field(default=0.2, description="Weight of moving one hyperparameter of `search`.")
    mutation_sd: float = Field(
        default=0.1, ge=0, le=10, description="Noise of `parameters`, relative to a weight matrix's root mean square."
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.no_mutation + self.architecture + self.parameters + self.activation + self.rl_hp <= 0:
            raise ValueError(
                "the weights of all kinds are zero; give at least one of no_mutation, architecture, parameters, "
                "activation, rl_hp a positive weight"
            )
        return self


def _check_within(name: str, value: int, bounds: tuple[int, int]) -> None:
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"{name}: expected {bounds[0]} to {bounds[1]} (network.bounds), got {value}")
