"""Sections of the configuration about evolution: population, selection and mutation."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from evo_core.config.bounds import MOST_ENTRIES, MOST_GENERATIONS, MOST_MEMBERS, Arguments, bounded
from evo_core.config.sections import Section, unless
from evo_core.plugins.kinds import MUTATION, SELECTOR
from evo_core.plugins.naming import PluginName

Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
PLUGIN_MUTATION = PluginName(MUTATION, only=True)
Count = Annotated[int, Field(ge=1, le=MOST_MEMBERS)]


class PopulationConfig(Section):
    """Size and initialization of the population."""

    model_config = ConfigDict(title="Population")

    size: int = bounded("Members of every generation.", default=6, ge=1, le=MOST_MEMBERS)
    init: Literal["identical", "diverse"] = Field(
        default="identical",
        description="The first founder is the configuration as given. identical: the others are one mutation away from "
        "it; diverse: the genes of the others fill the ranges of `search` evenly.",
    )
    sizing: Literal["fixed", "adaptive"] = Field(
        default="fixed",
        exclude_if=unless("fixed"),
        description="fixed: every generation has `size` members; adaptive: one line as long as its returns improve, "
        "twice as many once all lines have stalled, at most `size`.",
    )
    patience: int = bounded(
        "adaptive: generations over which a line must improve, or it has stalled.",
        default=2,
        ge=1,
        le=1000,
        exclude_if=unless(2),
    )
    schedule: tuple[Count, ...] = bounded(
        "Members of the first generations, not increasing, at least size, such as [12, 8]; the best of them continue, "
        "then `size` applies.",
        Count,
        default=(),
        max_length=MOST_ENTRIES,
        exclude_if=unless(()),
    )
    min_survivors: int | None = bounded(
        "Fewer finished members than this fail the generation.",
        default=None,
        null="max(1, half)",
        ge=1,
        le=MOST_MEMBERS,
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.sizing == "adaptive" and self.size < 2:
            raise ValueError(
                f"sizing: adaptive needs room for more than one line, population.size is {self.size}; raise it, or use "
                "sizing: fixed"
            )
        if self.sizing == "adaptive" and self.schedule:
            raise ValueError("schedule: adaptive chooses the sizes of all generations; remove it, or use sizing: fixed")
        sizes = (*self.schedule, self.size)
        if any(later > earlier for earlier, later in pairwise(sizes)):
            raise ValueError(
                f"schedule: expected sizes that do not increase, down to population.size ({self.size}), got "
                f"{list(self.schedule)}; put the largest first"
            )
        return self

    @property
    def most(self) -> int:
        """The largest number of members that a generation may have."""
        return max((self.size, *self.schedule))

    @property
    def least(self) -> int:
        """The smallest number of members that a generation may have."""
        return 1 if self.sizing == "adaptive" else self.size

    def size_of(self, generation: int) -> int:
        """Return the number of members of a generation, from 1: the least of an adaptive one."""
        if self.sizing == "adaptive":
            return self.least
        return self.schedule[generation - 1] if generation <= len(self.schedule) else self.size

    def required_survivors(self, size: int) -> int:
        """Return how many of `size` members must finish for their generation to be committed."""
        return min(self.min_survivors, size) if self.min_survivors is not None else max(1, size // 2)


class SelectionConfig(Section):
    """Selection of parents."""

    model_config = ConfigDict(title="Selection")

    method: Annotated[str, PluginName(SELECTOR)] = Field(
        default="tournament",
        exclude_if=unless("tournament"),
        description="tournament: every place goes to the winner of one; truncation: the worst are replaced by copies "
        "of the best, all others train on; or a plugin's.",
    )
    options: Arguments = Field(
        default_factory=dict, exclude_if=unless({}), description="Keyword arguments of a plugin's selector."
    )
    tournament_size: int = bounded(
        "tournament: members drawn for each; at most population.size.", default=2, ge=1, le=MOST_MEMBERS
    )
    elitism: bool = Field(
        default=True, description="tournament, plugins: the best member passes to the next generation unmutated."
    )
    quantile: float = bounded(
        "truncation: share of the population that is replaced, by copies of as large a share of the best.",
        default=0.25,
        gt=0,
        le=0.5,
        exclude_if=unless(0.25),
    )
    margin: float = bounded(
        "truncation: standard errors by which a member must be worse than its replacement, over the episodes of the "
        "generation's common seeds.",
        default=0.0,
        ge=0,
        le=10,
        exclude_if=unless(0.0),
    )
    warm_up: int = bounded(
        "First generations after which no member is replaced or mutated: every member trains on.",
        default=0,
        ge=0,
        le=MOST_GENERATIONS,
        exclude_if=unless(0),
    )
    archive: int = bounded(
        "Best checkpoints so far that stay parents beside the newest generation, evaluated again in each; at most "
        "population.size.",
        default=0,
        ge=0,
        le=MOST_MEMBERS,
        exclude_if=unless(0),
    )
    fitness_window: int = bounded(
        "Generations of a lineage whose fitness is averaged for selection.", default=1, ge=1, le=1000
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.options and self.method in SELECTOR.own:
            raise ValueError(f"options: only a plugin's selector has them, and method is {self.method}; remove them")
        return self


class MutationConfig(Section):
    """Relative weights of the kinds of mutation, and their sizes."""

    model_config = ConfigDict(title="Mutation")

    no_mutation: Weight = bounded("Weight of passing unchanged.", Weight, default=0.4)
    architecture: Weight = bounded("Weight of adding or removing nodes, layers or latent units.", Weight, default=0.2)
    new_layer_prob: Probability = bounded("P(a layer is changed | architecture).", Probability, default=0.2)
    parameters: Weight = bounded("Weight of Gaussian noise on a tenth of the policy's weights.", Weight, default=0.2)
    activation: Weight = bounded("Weight of another activation function.", Weight, default=0.0)
    rl_hp: Weight = bounded("Weight of moving one hyperparameter of `search`.", Weight, default=0.2)
    mutation_sd: float = bounded(
        "Noise of `parameters`, relative to a weight matrix's root mean square.", default=0.1, ge=0, le=10
    )
    plugins: dict[Annotated[str, PLUGIN_MUTATION], Weight] = Field(
        default_factory=dict,
        max_length=MOST_ENTRIES,
        exclude_if=unless({}),
        json_schema_extra=PLUGIN_MUTATION.list_installed,
        description="Weights of plugins' mutations: name → weight, 0 to 1e6.",
    )
    options: dict[Annotated[str, PLUGIN_MUTATION], Arguments] = Field(
        default_factory=dict,
        max_length=MOST_ENTRIES,
        exclude_if=unless({}),
        description="Keyword arguments of plugins' mutations: name → {argument: value}.",
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if unknown := sorted(self.options.keys() - self.plugins.keys()):
            raise ValueError(f"options: {unknown[0]} has no weight in mutation.plugins; give it one, or remove it")
        return self

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        own = self.no_mutation + self.architecture + self.parameters + self.activation + self.rl_hp
        if own + sum(self.plugins.values()) <= 0:
            raise ValueError(
                "the weights of all kinds are zero; give at least one of no_mutation, architecture, parameters, "
                "activation, rl_hp a positive weight"
            )
        return self
