"""Records of the chain: frozen and canonical, without clocks, hosts, attempts or run ids, so they can be hashed."""

import math
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from evo_core.config.run_config import RunConfig
from evo_core.genome.architecture import Record
from evo_core.genome.genome import Genome
from evo_core.plugins.kinds import MUTATION
from evo_core.plugins.naming import PluginName
from evo_core.records.canonical import canonical_json, sha256

SCHEMA = 1

FailureReason = Literal[
    "nan_observation",  # the environment returned an observation that is not finite
    "nan_reward",  # the environment returned a reward that is not finite
    "nan_loss",  # loss, gradient or network output stopped being finite
    "environment_error",  # the environment raised
    "fitness_error",  # the fitness could not be measured: no such key in the info, or its function raised
    # the flow writes the following reasons after the last attempt; the reasons above are deterministic
    "deadline",  # every attempt exceeded the configured deadline
    "memory",  # every attempt exceeded the memory limit of its worker
    "lost",  # every attempt was lost to the infrastructure
]
LOST: tuple[FailureReason, ...] = ("deadline", "memory", "lost")
"""Reasons of members of which no attempt had a result."""


class BlobRef(Record):
    """Names the bytes of a checkpoint by their hash."""

    sha256: str
    size: int


class Mutation(Record):
    """The mutation of an offspring: kind, the part it touched, and the value before and after.

    `kind` is `none`, one of the built-in kinds, or a plugin's name.
    """

    kind: Annotated[str, PluginName(MUTATION)]
    what: str | None = None
    before: JsonValue = None
    after: JsonValue = None


class Offspring(Record):
    """A member before its generation trains it.

    `ancestor_fitness` holds the fitnesses of its line within the selection window, newest last, `ancestor_objectives`
    the values of further objectives with them; `lineage_steps` the environment steps that its weights have been trained
    for. Founders have no parent and no blob. `archived`: one of the best checkpoints so far, which is evaluated again
    and not trained. `ancestor_progress`: in adaptive populations, the mean returns of its line's last generations in
    training, newest last.
    """

    uid: str
    generation: int
    index: int
    parent: str | None
    parent_blob: BlobRef | None
    genome: Genome
    mutation: Mutation
    ancestor_fitness: tuple[float, ...] = ()
    ancestor_objectives: tuple[tuple[float, ...], ...] = Field(default=(), exclude_if=lambda value: not value)
    lineage_steps: int = 0
    ancestor_progress: tuple[float, ...] = Field(default=(), exclude_if=lambda value: not value)
    archived: bool = Field(default=False, exclude_if=lambda value: not value)


class Failure(Record):
    """Reason of a member's failure, and the environment steps of its generation until then, including evaluation."""

    reason: FailureReason
    step: int


class FailureDetail(Record):
    """Details of a failure for users: free text, stored next to records and not hashed.

    `error` is the type of what was raised, None when a value was at fault; `where` names the step of the member and
    the environment; `frames` are the environment's own last lines of the traceback, the innermost last.
    """

    message: str
    error: str | None = None
    where: str = ""
    frames: tuple[str, ...] = ()

    @property
    def cause(self) -> str:
        """Description without the place, equal for all members with the same fault."""
        return f"{self.error}: {self.message}".removesuffix(": ") if self.error else self.message

    @property
    def sentence(self) -> str:
        """Description with the place."""
        return f"{self.cause} ({self.where})" if self.where else self.cause


class Update(Record):
    """Statistics of one rollout and update; the training curve is a tuple of these.

    Losses are means over the last epoch. `episode_return` and `episode_length` are null when no episode ended. `lr` is
    the learning rate of the last epoch, where it follows a schedule.
    """

    steps: int
    episodes: int
    episode_return: float | None
    episode_length: float | None
    policy_loss: float | None
    value_loss: float | None
    entropy: float | None
    approx_kl: float | None
    clip_fraction: float | None
    explained_variance: float | None
    grad_norm: float | None
    epochs: int
    lr: float | None = Field(default=None, exclude_if=lambda value: value is None)


class Training(Record):
    """The result of training an offspring.

    `output_shift` is how far the transfer from parent to child moved the network's outputs: the largest difference
    of a logit (or action mean) and of a value on random observations; null for founders.
    """

    uid: str
    steps: int
    curve: tuple[Update, ...] = ()
    blob: BlobRef | None = None
    output_shift: float | None = None
    failure: Failure | None = None


class ObjectiveValue(Record):
    """The value of a further objective, with its standard error where it is of several episodes."""

    name: str
    value: float
    sem: float | None = Field(default=None, exclude_if=lambda value: value is None)


class Evaluation(Record):
    """The result of full episodes: fitness, its standard error (null for one episode), count, steps, and the returns.

    The fitness is the mean return unless `evaluation.fitness` says otherwise; then `values` are what the episodes were
    worth, and `returns` stay their returns. Both are in the order of the generation's seeds, so that members can be
    compared episode by episode. Records written before returns were recorded have none.
    """

    fitness: float
    fitness_sem: float | None
    episodes: int
    steps: int
    returns: tuple[float, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    values: tuple[float, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    objectives: tuple[ObjectiveValue, ...] = Field(default=(), exclude_if=lambda value: not value)

    @property
    def episode_values(self) -> tuple[float, ...] | None:
        """What each episode was worth: its return unless fitness is something else; None if it was not recorded."""
        return self.returns if self.values is None else self.values

    @property
    def mean_return(self) -> float | None:
        """Mean return, whatever the fitness is; None if returns were not recorded."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    @property
    def other_mean_return(self) -> float | None:
        """Mean return where it is another number than the fitness; else None."""
        mean = self.mean_return
        return None if mean is None or math.isclose(mean, self.fitness, abs_tol=1e-12) else mean


class Member(Record):
    """An offspring with the results of its generation; `failure` and `evaluation` exclude each other."""

    offspring: Offspring
    training: Training
    evaluation: Evaluation | None = None
    failure: Failure | None = None

    @property
    def uid(self) -> str:
        """Name of the member, such as g0003/m05."""
        return self.offspring.uid

    @property
    def fitness(self) -> float | None:
        """Fitness in evaluation; None when the member failed."""
        return self.evaluation.fitness if self.evaluation else None


class EliteRef(Record):
    """Reference to an elite: uid, fitness, and checkpoint."""

    uid: str
    generation: int
    fitness: float
    fitness_sem: float | None
    episodes: int
    blob: BlobRef
    objectives: tuple[ObjectiveValue, ...] = Field(default=(), exclude_if=lambda value: not value)


class Draw(Record):
    """The outcome of selection: the elite's index and, per slot of the next generation, the parent's index.

    A slot without a parent is that of a new founder. `archive` holds the indices of the best checkpoints, if they stay
    parents; their copies follow the slots.
    """

    elite: int
    parents: tuple[int | None, ...]
    scores: tuple[float | None, ...]
    archive: tuple[int, ...] = Field(default=(), exclude_if=lambda value: not value)


class Generation(Record):
    """A COMMIT: the members of generation g, the draw among them, and the offspring of generation g + 1.

    COMMIT 0 has offspring only. `previous` is the hash of COMMIT g - 1; for COMMIT 0 that of the configuration
    without its budget. `front`: with further objectives, the members so far that no other dominates.
    """

    generation: int
    previous: str
    members: tuple[Member, ...] = ()
    draw: Draw | None = None
    elite: EliteRef | None = None
    best: EliteRef | None = None
    front: tuple[EliteRef, ...] = Field(default=(), exclude_if=lambda value: not value)
    offspring: tuple[Offspring, ...] = Field(min_length=1)
    train_steps: int = 0
    eval_steps: int = 0

    def fittest(self, sign: int) -> EliteRef | None:
        """Return the elite with the best fitness so far; with further objectives, the member of the front with it.

        `sign`: 1 if more fitness is better, -1 if less is.
        """
        return max(self.front, key=lambda one: sign * one.fitness) if self.front else self.best

    @cached_property
    def sha256(self) -> str:
        """The hash by which the next COMMIT names this one, computed once."""
        return record_hash(self)


class Confirmation(Record):
    """The score of one checkpoint on fresh seeds: fitness, 95 % confidence interval, episodes.

    `mean` is the fitness: the mean return with Student's interval, unless `evaluation.fitness` says otherwise. Then
    `measured` names it, and `mean_return` is recorded beside it.
    """

    uid: str
    mean: float
    ci95: tuple[float, float]
    episodes: int
    steps: int
    measured: str | None = Field(default=None, exclude_if=lambda value: value is None)
    mean_return: float | None = Field(default=None, exclude_if=lambda value: value is None)
    objectives: tuple[ObjectiveValue, ...] = Field(default=(), exclude_if=lambda value: not value)


def record_hash(record: Record) -> str:
    """Hash the canonical bytes of a record."""
    return sha256(canonical_json(record))


def config_hash(config: RunConfig) -> str:
    """Hash the fields that determine results: the configuration without its budget fields and `env.max_instances`.

    A learning rate that decays over the budget depends on `max_steps`, which then counts.
    """
    plain = config.model_dump(mode="json")
    plain["env"].pop("max_instances", None)
    for field in ("target",) if config.algorithm.lr_schedule == "linear" else ("max_steps", "target"):
        del plain["training"][field]
    return sha256(canonical_json(plain))


def uid(generation: int, index: int) -> str:
    """Return the name of a member, such as g0003/m05."""
    return f"g{generation:04d}/m{index:02d}"
