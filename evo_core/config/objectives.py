"""What an episode is worth: what is measured, which direction is better, and how episodes are aggregated."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from evo_core.config.bounds import LONGEST_NAME, bounded
from evo_core.config.sections import Section
from evo_core.plugins.installed import doubtful, offers
from evo_core.plugins.kinds import FITNESS
from evo_core.plugins.naming import PluginName

Reduction = Literal["last", "sum", "mean", "max"]
Direction = Literal["maximize", "minimize"]
Aggregation = Literal["mean", "median", "iqm", "cvar"]
OfMember = Literal["parameters", "flops"]

OF_EPISODES = ("return", "success", "length")
"""Built-in measures of an episode, beside `info:KEY` and functions."""

OF_MEMBERS: tuple[str, ...] = get_args(OfMember)
"""Measures of an agent's network, which no episode changes."""

FITNESS_PLUGIN = PluginName(FITNESS)
INFO = "info:"
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

MeasureName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


def measure_problem(measure: str, others: tuple[str, ...] = OF_EPISODES) -> str | None:
    """Return what is wrong with the name of a measure; None if it can be one."""
    if measure in others or (measure.startswith(INFO) and len(measure) > len(INFO)):
        return None
    if _FUNCTION.fullmatch(measure) and not measure.startswith(INFO):
        return None
    if reason := doubtful(FITNESS).get(measure):
        return f"fitness function {measure}: {reason}"
    known = ", ".join([*others, *offers(FITNESS)])
    return f"expected {known}, info:KEY or package.module:function, got {measure!r}"


def read_short_forms(values: Any, name: str) -> Any:
    """Read `{info: KEY}` as a measure and `{cvar: SHARE}` as an aggregation."""
    if not isinstance(values, Mapping):
        return values
    read = dict(values)
    match read.get(name):
        case {"info": str(key), **rest} if not rest:
            read[name] = f"{INFO}{key}"
    match read.get("aggregation"):
        case {"cvar": share, **rest} if not rest:
            read |= {"aggregation": "cvar", "cvar": share}
    return read


class Objective(Section):
    """Something that is optimized: a measure, its direction, and its aggregation over episodes."""

    model_config = ConfigDict(title="Objective")

    measure: MeasureName = Field(
        json_schema_extra=FITNESS_PLUGIN.list_installed,
        description="return, success, length, info:KEY or package.module:function, as evaluation.fitness; or of the "
        "network: parameters (their number) or flops (operations per action).",
    )
    direction: Direction = Field(description="Which is better, more or less.")
    reduction: Reduction = Field(default="last", description="info:KEY: as evaluation.reduction.")
    aggregation: Aggregation = Field(default="mean", description="Over episodes, as evaluation.aggregation.")
    cvar: float = bounded("aggregation cvar: share of the worst episodes.", default=0.25, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, values: Any) -> Any:
        return read_short_forms(values, "measure")

    @field_validator("measure")
    @classmethod
    def _check_measure(cls, measure: str, info: ValidationInfo) -> str:
        if FITNESS_PLUGIN.is_known(measure, info):
            return measure
        if problem := measure_problem(measure, (*OF_EPISODES, *OF_MEMBERS)):
            raise ValueError(problem)
        return measure

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        require_used(self.measure, self.reduction, self.aggregation, self.cvar)
        return self

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is."""
        return 1 if self.direction == "maximize" else -1

    def better(self, one: float, other: float) -> bool:
        """Return True if a value is better than another."""
        return self.sign * one > self.sign * other

    def reaches(self, value: float, target: float) -> bool:
        """Return True if a value is as good as a target, or better."""
        return self.sign * value >= self.sign * target

    @property
    def is_mean_return(self) -> bool:
        """Whether it is the default: the mean return, the higher the better."""
        return (self.measure, self.direction, self.aggregation) == ("return", "maximize", "mean")

    @property
    def key(self) -> str | None:
        """The key of the info that is read: of `info:KEY` alone."""
        return self.measure.removeprefix(INFO) if self.measure.startswith(INFO) else None

    @property
    def function(self) -> str | None:
        """The function that measures an episode, as package.module:function."""
        return self.measure if ":" in self.measure and self.key is None else None

    @property
    def plugin(self) -> str | None:
        """The installed plugin that measures an episode, by its name."""
        return self.measure if self.measure not in FITNESS.own and ":" not in self.measure else None

    @property
    def identity(self) -> tuple[object, ...]:
        """What determines the number: equal for two objectives that always have the same one."""
        if self.of_member:
            return (self.measure,)
        return self.measure, self.reduction, self.aggregation, self.cvar

    @property
    def of_member(self) -> bool:
        """Whether it measures the network instead of episodes."""
        return self.measure in OF_MEMBERS

    @property
    def name(self) -> str:
        """What is measured, in words: return, energy (sum). Keys of the info that are called as a built-in measure keep
        their prefix.
        """
        if self.key is None:
            return self.measure
        key = self.measure if self.key in FITNESS.own else self.key
        return key if self.reduction == "last" else f"{key} ({self.reduction})"

    @property
    def title(self) -> str:
        """What the number is: mean return, median success, mean length of the worst 25 %, parameters."""
        if self.of_member:
            return self.name
        if self.aggregation == "cvar":
            return f"mean {self.name} of the worst {100 * self.cvar:g} %"
        word = "interquartile mean" if self.aggregation == "iqm" else self.aggregation
        return f"{word} {self.name}"

    @property
    def summary(self) -> dict[str, str]:
        """What JSON output says about the number: its title and direction."""
        return {"name": self.title, "direction": self.direction}

    @property
    def oriented_title(self) -> str:
        """The title, with which direction is better where that is less."""
        return self.title if self.direction == "maximize" else f"{self.title}, less is better"


def require_used(measure: str, reduction: Reduction, aggregation: Aggregation, cvar: float) -> None:
    """Raise ValueError where a field has a value that nothing uses."""
    if reduction != "last" and not measure.startswith(INFO):
        raise ValueError(
            f"reduction: {reduction} has an effect only with info:KEY; measure that, or leave reduction out"
        )
    if cvar != 0.25 and aggregation != "cvar":
        raise ValueError(f"cvar: {cvar:g} has an effect only with aggregation: cvar; set that, or leave cvar out")
