"""Sections of the configuration about environment, learning and evaluation: every field with its bounds and default."""

from collections.abc import Callable
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
    SAFE_INTEGER,
    Arguments,
    bounded,
)
from evo_core.plugins.kinds import VECTOR_BACKEND
from evo_core.plugins.naming import PluginName


def unless(default: object) -> Callable[[object], bool]:
    """Serialize a field only if its value is another one, so that records of runs without it keep their bytes."""
    return lambda value: value == default


class Section(BaseModel):
    """Base class of all sections: frozen; rejects unknown keys, NaN and infinities."""

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
    num_envs: int = bounded("Copies stepped together by one member.", default=16, ge=1, le=4096)
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
    vectorization: Annotated[str, PluginName(VECTOR_BACKEND)] = Field(
        default="auto",
        description="How copies are stepped: sync (in turn; auto = sync), async (a process each), native (the "
        "environment's own vector version), envpool or a plugin's.",
    )
    step_timeout: float = bounded("async: seconds that one step may take.", default=60, gt=0, le=86_400)
    max_instances: int | None = bounded(
        "Copies that one worker may have open at a time, in training, evaluation and confirmation; results do not "
        "depend on it.",
        default=None,
        null="any number",
        ge=1,
        le=4096,
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
    def _leave_out_no_limit(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialize the limit only if it is set, so that records of runs without it keep their bytes."""
        plain: dict[str, Any] = serialize(self)
        if self.max_instances is None:
            plain.pop("max_instances", None)
        return plain


class AlgorithmConfig(Section):
    """PPO's hyperparameters; every number except action_std_init may evolve (section `search`)."""

    model_config = ConfigDict(title="Algorithm")

    name: Literal["PPO"] = Field(default="PPO", description="The learning algorithm.")
    lr: float = bounded("Adam's learning rate; evolution moves it.", default=1e-3, gt=0, le=1)
    lr_schedule: Literal["constant", "linear", "kl"] = Field(
        default="constant",
        exclude_if=unless("constant"),
        description="linear: lr decays to zero over the last third of the budget, which is then final; kl: lr is the "
        "first value of a rate that follows the KL divergence of updates, and passes to offspring.",
    )
    desired_kl: float = bounded(
        "lr_schedule kl: the rate falls above twice this KL divergence of an epoch, and rises below half of it.",
        default=0.01,
        gt=0,
        le=10,
        exclude_if=unless(0.01),
    )
    batch_size: int = bounded("Steps in a minibatch, at most the rollout.", default=256, ge=1, le=2**24)
    learn_step: int = bounded("Environment steps over all envs per update.", default=2048, ge=1, le=2**24)
    update_epochs: int = bounded("Passes over each rollout.", default=10, ge=1, le=1000)
    gamma: float = bounded("Discount factor.", default=0.99, ge=0, le=1)
    gae_lambda: float = bounded("Lambda of the advantage estimator.", default=0.98, ge=0, le=1)
    clip_coef: float = bounded("Clip range of the probability ratio.", default=0.2, gt=0, le=10)
    clip_value: bool = Field(default=False, description="Clip value updates by clip_coef too.")
    ent_coef: float = bounded("Weight of the entropy bonus.", default=0.01, ge=0, le=10)
    vf_coef: float = bounded("Weight of the value loss.", default=0.5, ge=0, le=100)
    max_grad_norm: float = bounded("Gradients are clipped to this norm.", default=0.5, gt=0, le=1e6)
    target_kl: float | None = bounded(
        "Stop an update once an epoch's KL divergence exceeds this.", default=None, null="never", gt=0, le=100
    )
    action_std_init: float = bounded("Initial standard deviation of continuous actions.", default=0.6, gt=0, le=100)
    normalize_observations: bool = Field(
        default=False, description="Shift and scale observations of floats by their running mean and deviation."
    )
    normalize_returns: bool = Field(
        default=False, description="Scale rewards by the running deviation of discounted returns, in training."
    )
    recurrent: bool = Field(default=False, description="A policy with a memory (network.encoder.cell).")


class TrainingConfig(Section):
    """Budget and target of training."""

    model_config = ConfigDict(title="Training")

    max_steps: int = bounded(
        "Budget: TOTAL training steps of the whole population, without evaluation; at least one generation.",
        ge=1,
        le=SAFE_INTEGER,
    )
    evo_steps: int = bounded(
        "Training steps of each member in a generation, a multiple of env.num_envs.",
        default=16_384,
        ge=1,
        le=SAFE_INTEGER,
    )
    target: float | None = bounded(
        "Stop once the best fitness reaches this on fresh episodes too.",
        default=None,
        null="never",
        ge=-LARGEST,
        le=LARGEST,
    )
