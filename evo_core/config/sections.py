"""Sections of the configuration except the network: every field with its bounds, default and description."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from evo_core.config.bounds import (
    DEEPEST,
    LARGEST,
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_ENTRIES,
    MOST_EPISODES,
    MOST_MEMBERS,
    SAFE_INTEGER,
    Arguments,
)

Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Name = Annotated[str, Field(max_length=LONGEST_NAME)]
WrapperConfig = Name | Annotated[dict[Name, Arguments], Field(min_length=1, max_length=1)]
"""A wrapper's name, or its name with its arguments."""


class EnvConfig(Section):
    """The environment that every member trains on."""

    model_config = ConfigDict(title="Environment")

    id: str = Field(
        min_length=1,
        max_length=LONGEST_NAME,
        description="Id of a registered Gymnasium environment, such as LunarLander-v3, or package.module:Id.",
    )
    num_envs: int = Field(default=16, ge=1, le=4096, description="Copies stepped together by one member. 1 to 4096.")
    kwargs: Arguments = Field(
        default_factory=dict,
        description=f"Keyword arguments for the environment: whole numbers up to {SAFE_INTEGER}, texts of at most "
        f"{LONGEST_TEXT} characters, {MOST_ENTRIES} entries each, {DEEPEST} levels.",
    )
    wrappers: list[WrapperConfig] = Field(
        default_factory=list,
        max_length=32,
        description="Wrappers by name, innermost first: Name, {Name: {argument: value}}, or package.module:Name. At "
        "most 32.",
    )
    vectorization: Literal["auto", "sync", "async", "native", "envpool"] = Field(
        default="auto",
        description="How copies are stepped: sync (in turn; auto = sync), async (a process each), native (the "
        "environment's own vector version) or envpool.",
    )
    step_timeout: float = Field(
        default=60, gt=0, le=86_400, description="async: seconds that one step may take. Above 0, at most 86400."
    )
    max_instances: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Copies that one worker may have open at a time, in training, evaluation and confirmation; results "
        "do not depend on it. 1 to 4096; null = any number.",
    )

    @model_validator(mode="after")
    def _check_instances(self) -> Self:
        if self.max_instances is not None and self.num_envs > self.max_instances:
            raise ValueError(
                f"num_envs: expected at most env.max_instances ({self.max_instances}), got {self.num_envs}; "
                f"set env.num_envs to {self.max_instances} or less, or raise env.max_instances"
            )
        return self

    @model_serializer(mode="wrap")
    def _leave_out_no_limit(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the limit only where there is one: records of runs that have none stay byte for byte what they were."""
        plain: dict[str, Any] = serialise(self)
        if self.max_instances is None:
            plain.pop("max_instances", None)
        return plain


class AlgorithmConfig(Section):
    """PPO's hyperparameters; every number except action_std_init may evolve (section `search`)."""

    model_config = ConfigDict(title="Algorithm")

    name: Literal["PPO"] = Field(default="PPO", description="The learning algorithm.")
    lr: float = Field(
        default=1e-3, gt=0, le=1, description="Adam's learning rate; evolution moves it. Above 0, at most 1."
    )
    batch_size: int = Field(
        default=256, ge=1, le=2**24, description="Steps in a minibatch, at most the rollout. 1 to 16777216."
    )
    learn_step: int = Field(
        default=2048, ge=1, le=2**24, description="Environment steps over all envs per update. 1 to 16777216."
    )
    update_epochs: int = Field(default=10, ge=1, le=1000, description="Passes over each rollout. 1 to 1000.")
    gamma: float = Field(default=0.99, ge=0, le=1, description="Discount factor. 0 to 1.")
    gae_lambda: float = Field(default=0.98, ge=0, le=1, description="Lambda of the advantage estimator. 0 to 1.")
    clip_coef: float = Field(
        default=0.2, gt=0, le=10, description="Clip range of the probability ratio. Above 0, at most 10."
    )
    clip_value: bool = Field(default=False, description="Clip value updates by clip_coef too.")
    ent_coef: float = Field(default=0.01, ge=0, le=10, description="Weight of the entropy bonus. 0 to 10.")
    vf_coef: float = Field(default=0.5, ge=0, le=100, description="Weight of the value loss. 0 to 100.")
    max_grad_norm: float = Field(
        default=0.5, gt=0, le=1e6, description="Gradients are clipped to this norm. Above 0, at most 1e6."
    )
    target_kl: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Stop an update once an epoch's KL divergence exceeds this. Above 0, at most 100; null = never.",
    )
    action_std_init: float = Field(
        default=0.6, gt=0, le=100, description="Initial standard deviation of continuous actions. Above 0, at most 100."
    )
    normalize_observations: bool = Field(
        default=False, description="Shift and scale observations of floats by their running mean and deviation."
    )
    normalize_returns: bool = Field(
        default=False, description="Scale rewards by the running deviation of discounted returns, in training."
    )
    recurrent: bool = Field(default=False, description="A policy with a memory (network.encoder.cell).")


class PopulationConfig(Section):
    """How many members, and how they start."""

    model_config = ConfigDict(title="Population")

    size: int = Field(default=6, ge=1, le=MOST_MEMBERS, description="Members of every generation. 1 to 100000.")
    init: Literal["identical", "diverse"] = Field(
        default="identical",
        description="identical: the configured genome and one round of mutations of it; diverse: drawn from `search`.",
    )
    min_survivors: int | None = Field(
        default=None,
        ge=1,
        le=MOST_MEMBERS,
        description="Fewer finished members than this fail the generation; null = max(1, half). 1 to 100000.",
    )

    @property
    def required_survivors(self) -> int:
        """Members that must finish for a generation to be committed."""
        return self.min_survivors if self.min_survivors is not None else max(1, self.size // 2)


class TrainingConfig(Section):
    """How much is trained."""

    model_config = ConfigDict(title="Training")

    max_steps: int = Field(
        ge=1,
        le=SAFE_INTEGER,
        description="Budget: TOTAL training steps of the whole population, without evaluation. 1 generation to "
        f"{SAFE_INTEGER}.",
    )
    evo_steps: int = Field(
        default=16_384,
        ge=1,
        le=SAFE_INTEGER,
        description="Training steps of each member in a generation: 1 or more times env.num_envs, at most "
        f"{SAFE_INTEGER}.",
    )
    target: float | None = Field(
        default=None,
        ge=-LARGEST,
        le=LARGEST,
        description="Stop once the best mean return reaches this on fresh episodes too. -1e15 to 1e15; null = never.",
    )


class EvaluationConfig(Section):
    """How fitness is measured, on environments of its own."""

    model_config = ConfigDict(title="Evaluation")

    episodes: int = Field(
        default=8, ge=1, le=MOST_EPISODES, description="Episodes per member and generation. 1 to 100000."
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        le=SAFE_INTEGER,
        description=f"Cut an episode after this many steps; null = the environment's own limit. 1 to {SAFE_INTEGER}.",
    )
    deterministic: bool = Field(default=True, description="Take the most likely action instead of a drawn one.")
    confirm_episodes: int = Field(
        default=100,
        ge=2,
        le=MOST_EPISODES,
        description="Fresh episodes that confirm the target and the delivered agent. 2 to 100000.",
    )


class SelectionConfig(Section):
    """Who has offspring."""

    model_config = ConfigDict(title="Selection")

    tournament_size: int = Field(
        default=2,
        ge=1,
        le=MOST_MEMBERS,
        description="Members drawn per tournament; at most population.size. 1 to 100000.",
    )
    elitism: bool = Field(default=True, description="The best member passes to the next generation unmutated.")
    fitness_window: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Generations of a lineage whose fitness is averaged for selection. 1 to 1000.",
    )


class MutationConfig(Section):
    """Relative weights of the kinds of mutation, and their sizes."""

    model_config = ConfigDict(title="Mutation")

    no_mutation: Weight = Field(default=0.4, description="Weight of passing unchanged. 0 to 1e6.")
    architecture: Weight = Field(
        default=0.2, description="Weight of adding or removing nodes, layers or latent units. 0 to 1e6."
    )
    new_layer_prob: Probability = Field(default=0.2, description="P(a layer is changed | architecture). 0 to 1.")
    parameters: Weight = Field(
        default=0.2, description="Weight of Gaussian noise on a tenth of the policy's weights. 0 to 1e6."
    )
    activation: Weight = Field(default=0.0, description="Weight of another activation function. 0 to 1e6.")
    rl_hp: Weight = Field(default=0.2, description="Weight of moving one hyperparameter of `search`. 0 to 1e6.")
    mutation_sd: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="Noise of `parameters`, relative to a weight matrix's root mean square. 0 to 10.",
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.no_mutation + self.architecture + self.parameters + self.activation + self.rl_hp <= 0:
            raise ValueError(
                "the weights of all kinds are zero; give at least one of no_mutation, architecture, parameters, "
                "activation, rl_hp a positive weight"
            )
        return self
