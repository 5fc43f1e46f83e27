"""Section of the configuration about evaluation: how fitness is measured."""

from itertools import combinations
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from evo_core.config.bounds import MOST_EPISODES, SAFE_INTEGER, bounded
from evo_core.config.objectives import (
    FITNESS_PLUGIN,
    Aggregation,
    Direction,
    MeasureName,
    Objective,
    Reduction,
    measure_problem,
    read_short_forms,
    require_used,
)
from evo_core.config.sections import Section, unless

MOST_OBJECTIVES = 4
"""Further objectives: with more, nearly all members are incomparable."""

KNEE = "knee"
"""The rule that delivers the member of a front with the best compromise."""


class EvaluationConfig(Section):
    """Measurement of fitness, on separate environments."""

    model_config = ConfigDict(title="Evaluation")

    episodes: int = bounded("Episodes per member and generation.", default=8, ge=1, le=MOST_EPISODES)
    max_steps: int | None = bounded(
        "Cut an episode after this many steps.", default=None, null="the environment's own limit", ge=1, le=SAFE_INTEGER
    )
    deterministic: bool = Field(default=True, description="Take the most likely action instead of a drawn one.")
    confirm_episodes: int = bounded(
        "Fresh episodes that confirm the target and the delivered agent.", default=100, ge=2, le=MOST_EPISODES
    )
    fitness: MeasureName = Field(
        default="return",
        exclude_if=unless("return"),
        json_schema_extra=FITNESS_PLUGIN.list_installed,
        description="What an episode is worth: return, length, success (of the last info: success or is_success), "
        "info:KEY (a number of the info), or package.module:function or a plugin, which is called with the episode.",
    )
    reduction: Reduction = Field(
        default="last",
        exclude_if=unless("last"),
        description="info:KEY: the number of the last step, or the sum, mean or max over the steps that have it.",
    )
    direction: Direction = Field(
        default="maximize", exclude_if=unless("maximize"), description="Whether more fitness is better, or less."
    )
    aggregation: Aggregation = Field(
        default="mean",
        exclude_if=unless("mean"),
        description="Fitness over episodes: mean, median, iqm (mean of the middle half) or cvar (mean of the worst "
        "share of them).",
    )
    cvar: float = bounded(
        "aggregation cvar: share of the worst episodes.", default=0.25, gt=0, le=1, exclude_if=unless(0.25)
    )

    objectives: tuple[Objective, ...] = Field(
        default=(),
        max_length=MOST_OBJECTIVES,
        exclude_if=unless(()),
        description="Further objectives, traded off against fitness by NSGA-II, such as [{measure: parameters, "
        f"direction: minimize}}]. At most {MOST_OBJECTIVES}.",
    )
    deliver: MeasureName = Field(
        default=KNEE,
        exclude_if=unless(KNEE),
        description="objectives: which of the front is delivered, and passes unmutated as the elite: knee, fitness, or "
        "the best in the measure of one of the objectives.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, values: Any) -> Any:
        return read_short_forms(values, "fitness")

    @field_validator("fitness")
    @classmethod
    def _check_fitness(cls, fitness: str, info: ValidationInfo) -> str:
        if not FITNESS_PLUGIN.is_known(fitness, info) and (problem := measure_problem(fitness)):
            raise ValueError(problem)
        return fitness

    @field_validator("objectives", mode="before")
    @classmethod
    def _check_list(cls, objectives: Any) -> Any:
        if not isinstance(objectives, list | tuple):
            raise ValueError(
                "expected a list, such as [{measure: parameters, direction: minimize}], in YAML a line `- {measure: …}`"
                f" for each objective, got {repr(objectives)[:200]}"
            )
        return objectives

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        require_used(self.fitness, self.reduction, self.aggregation, self.cvar)
        for one, other in combinations(self.all_objectives, 2):
            if one.identity == other.identity:
                raise ValueError(
                    f"objectives: {one.title} is there twice, as the fitness or another objective; leave one out"
                )
            if one.title == other.title:
                raise ValueError(
                    f"objectives: {one.measure} and {other.measure} are both called {one.title!r}; name one of them as "
                    "package.module:function"
                )
        if self.deliver not in self.delivery_rules:
            known = ", ".join(self.delivery_rules) if self.objectives else "objectives, among which it chooses"
            raise ValueError(f"deliver: expected {known}, got {self.deliver!r}")
        return self

    @property
    def objective(self) -> Objective:
        """The fitness as an objective."""
        return Objective(
            measure=self.fitness,
            direction=self.direction,
            reduction=self.reduction,
            aggregation=self.aggregation,
            cvar=self.cvar,
        )

    @property
    def all_objectives(self) -> tuple[Objective, ...]:
        """The fitness, then the further objectives."""
        return self.objective, *self.objectives

    @property
    def named_objectives(self) -> tuple[tuple[str, Objective], ...]:
        """All objectives, each with the field that names its measure."""
        further = ((f"evaluation.objectives.{n}.measure", objective) for n, objective in enumerate(self.objectives))
        return ("evaluation.fitness", self.objective), *further

    @property
    def episode_objectives(self) -> tuple[Objective, ...]:
        """The objectives that measure episodes, the fitness first."""
        return tuple(objective for objective in self.all_objectives if not objective.of_member)

    @property
    def delivery_rules(self) -> tuple[str, ...]:
        """What `deliver` may be: the knee, the best fitness, or the best in a further objective.

        An objective is named by its measure; by its title, if another one or another rule has that name.
        """
        if not self.objectives:
            return (KNEE,)
        names = [KNEE, "fitness", *(objective.measure for objective in self.objectives)]
        further = (one.measure if names.count(one.measure) == 1 else one.title for one in self.objectives)
        return KNEE, "fitness", *further

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions of other packages that measure episodes, each package.module:function."""
        return tuple(objective.function for objective in self.all_objectives if objective.function)
