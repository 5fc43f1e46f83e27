"""The configuration of a run, shared by the YAML file, the command line's flags and the form in the Prefect UI.

Store, study, engine, workers, device and credentials are operational: they are not here, because the same run may
continue under others.
"""

from collections.abc import Mapping
from typing import Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from evo_core.config.bounds import SAFE_INTEGER, bounded
from evo_core.config.evaluation_section import EvaluationConfig
from evo_core.config.evolution_sections import MutationConfig, PopulationConfig, SelectionConfig
from evo_core.config.genes import Gene, SearchSpace
from evo_core.config.network import NetworkConfig
from evo_core.config.sections import (
    AlgorithmConfig,
    EnvConfig,
    Section,
    TrainingConfig,
)


class RunConfig(Section):
    """The configuration of a run: every field that affects results."""

    model_config = ConfigDict(title="Run configuration")

    env: EnvConfig = Field(description="The environment.")
    algorithm: AlgorithmConfig = Field(default_factory=AlgorithmConfig, description="PPO's hyperparameters.")
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="The initial network and its bounds.")
    search: SearchSpace = Field(
        default_factory=dict, description="Hyperparameters that evolve: name → {min, max, scale}."
    )
    population: PopulationConfig = Field(default_factory=PopulationConfig, description="Size and initialization.")
    training: TrainingConfig = Field(description="Budget, steps per generation and target.")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="How fitness is measured.")
    selection: SelectionConfig = Field(default_factory=SelectionConfig, description="Selection of parents.")
    mutation: MutationConfig = Field(default_factory=MutationConfig, description="Mutation of offspring.")
    seed: int = bounded("Seed of all random numbers.", default=1, ge=0, le=SAFE_INTEGER)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for name, gene in self.search.items():
            _check_gene(name, gene, self.algorithm)
        if self.population.init == "diverse" and not self.search:
            raise ValueError(
                "population.init: diverse draws from `search`, which is empty; add a gene or use identical"
            )
        self._check_sizing()
        tournaments = self.selection.method == "tournament"
        if tournaments and self.selection.tournament_size > self.population.size:
            raise ValueError(
                f"selection.tournament_size: expected at most population.size ({self.population.size}), "
                f"got {self.selection.tournament_size}"
            )
        if self.selection.archive > self.population.size:
            raise ValueError(
                f"selection.archive: expected at most population.size ({self.population.size}), "
                f"got {self.selection.archive}"
            )
        if self.selection.margin and self.evaluation.objectives:
            raise ValueError(
                "selection.margin: it compares two members by fitness alone; leave it out with evaluation.objectives"
            )
        if (self.population.min_survivors or 0) > self.population.size:
            raise ValueError(
                f"population.min_survivors: expected at most population.size ({self.population.size}), "
                f"got {self.population.min_survivors}"
            )
        low = self.search["learn_step"].min if "learn_step" in self.search else self.algorithm.learn_step
        _check_steps(self.env.num_envs, low, self.algorithm, self.training, self.population)
        return self

    def _check_sizing(self) -> None:
        """Raise ValueError for settings that an adaptive population does not follow."""
        if self.population.sizing == "fixed":
            return
        chosen = self.selection.model_dump()
        for name in ("method", "warm_up", "archive", "fitness_window"):
            if chosen.get(name, default := type(self.selection).model_fields[name].default) != default:
                raise ValueError(
                    f"selection.{name}: with population.sizing: adaptive it has no effect; remove it, or use fixed"
                )
        if self.algorithm.lr_schedule == "linear":
            raise ValueError(
                "algorithm.lr_schedule: linear needs the number of generations, which an adaptive population does not "
                "know; use kl or constant"
            )

    @property
    def run_name(self) -> str:
        """Display name of a run of this configuration: lunarlander-v3 · pop 6 · seed 1."""
        return f"{self.env.id.lower()} · pop {self.population.size} · seed {self.seed}"

    def with_instances(self, most: int | None) -> "RunConfig":
        """Return a copy with another `env.max_instances`, which does not affect results."""
        return self.model_copy(update={"env": self.env.model_copy(update={"max_instances": most})})

    @property
    def generation_steps(self) -> int:
        """Training steps of one full generation, after those of `population.schedule`; the most of an adaptive one."""
        return self.population.size * self.training.evo_steps

    @property
    def least_generation_steps(self) -> int:
        """Training steps of the smallest generation."""
        return self.population.least * self.training.evo_steps

    @property
    def max_generations(self) -> int:
        """Number of full generations within the budget; the most if the population's size adapts."""
        members = self.training.max_steps // self.training.evo_steps
        if self.population.sizing == "adaptive":
            return members
        for number, size in enumerate(self.population.schedule):
            if size > members:
                return number
            members -= size
        return len(self.population.schedule) + members // self.population.size

    @property
    def planned_steps(self) -> int:
        """Training steps of all full generations within the budget; the most if the population's size adapts."""
        if self.population.sizing == "adaptive":
            return self.max_generations * self.training.evo_steps
        first = self.population.schedule[: self.max_generations]
        members = sum(first) + (self.max_generations - len(first)) * self.population.size
        return members * self.training.evo_steps

    @property
    def line_steps(self) -> int:
        """Training steps of a line of descent from its founder to the last generation."""
        return self.max_generations * self.training.evo_steps

    @property
    def left_over_steps(self) -> int:
        """Steps of the budget that remain unspent, because they are less than a full generation."""
        return self.training.max_steps - self.planned_steps


def _check_steps(
    num_envs: int, learn_step: float, algorithm: AlgorithmConfig, training: TrainingConfig, population: PopulationConfig
) -> None:
    if training.evo_steps % num_envs:
        low = training.evo_steps // num_envs * num_envs
        raise ValueError(
            f"training.evo_steps: expected a multiple of env.num_envs ({num_envs}), got {training.evo_steps}; "
            f"use {low or num_envs} or {low + num_envs}"
        )
    if learn_step < num_envs:
        raise ValueError(
            f"algorithm.learn_step and its range: expected at least env.num_envs ({num_envs}), got {learn_step:g}"
        )
    rollout = min(algorithm.learn_step, training.evo_steps)
    if algorithm.batch_size > rollout:
        raise ValueError(
            f"algorithm.batch_size: expected at most the initial rollout of {rollout} steps "
            f"(the smaller of algorithm.learn_step and training.evo_steps), got {algorithm.batch_size}"
        )
    needed = population.size_of(1) * training.evo_steps
    if training.max_steps < needed:
        members = "population.schedule[0]" if population.schedule else "population.size"
        raise ValueError(
            f"training.max_steps: expected at least one generation, {members} × training.evo_steps = {needed}, "
            f"got {training.max_steps}"
        )


def evolvable_hyperparameters() -> Mapping[str, type]:
    """Return the hyperparameters that may evolve, each with its type (int or float)."""
    types = {name: field.annotation for name, field in AlgorithmConfig.model_fields.items()}
    numeric = {
        name: int if kind is int else float for name, kind in types.items() if kind in (int, float, float | None)
    }
    del numeric["action_std_init"]  # it acts only at initialization: as a gene it would not affect offspring
    return numeric


def _check_gene(name: str, gene: Gene, algorithm: AlgorithmConfig) -> None:
    known = evolvable_hyperparameters()
    follows = algorithm.lr_schedule == "kl"
    if name == "lr" and follows:
        raise ValueError(
            "search.lr: with algorithm.lr_schedule: kl the rate follows the KL divergence, and lr is only the first "
            "rate of founders; remove it, or evolve desired_kl instead"
        )
    if name == "desired_kl" and not follows:
        raise ValueError(
            "search.desired_kl: it has an effect only with algorithm.lr_schedule: kl; set that or remove it"
        )
    if name not in known:
        raise ValueError(f"search.{name}: not a hyperparameter that can evolve; choose from {', '.join(sorted(known))}")
    initial = getattr(algorithm, name)
    if initial is None or not gene.min <= initial <= gene.max:
        raise ValueError(
            f"algorithm.{name}: the initial value {initial} lies outside its search range "
            f"[{gene.min:g}, {gene.max:g}]; move it inside or widen search.{name}"
        )
    for bound in (gene.min, gene.max):
        value = int(bound) if known[name] is int else bound
        if known[name] is int and value != bound:
            raise ValueError(f"search.{name}: expected whole numbers for min and max, got {bound:g}")
        try:
            AlgorithmConfig.model_validate({name: value})
        except ValidationError as error:
            raise ValueError(f"search.{name}: {error.errors()[0]['msg']}, got {bound:g}; narrow the range") from None
