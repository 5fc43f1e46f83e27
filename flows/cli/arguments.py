"""Arguments shared by several commands; those of operational settings are derived. Imports nothing heavy."""

from dataclasses import dataclass, make_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Parameter
from pydantic.fields import FieldInfo

from evo_core.config.bounds import LARGEST, MOST_GENERATIONS, SAFE_INTEGER, describe_range, limits
from flows.operational import OperationalSettings

LONGEST_ARGUMENT = 100_000
"""Characters of one argument; a configuration as a flag's value may have as many as a file."""


@dataclass(frozen=True)
class Between:
    """Refuses numbers outside of a range; cyclopts calls it with an argument's type and value."""

    low: float
    high: float
    above: bool = False
    """Refuse the lower bound too."""

    def __call__(self, kind: Any, value: float | None) -> None:
        """Raise ValueError unless the value is in the range; NaN never is."""
        if value is not None and not (self.low <= value <= self.high and not (self.above and value == self.low)):
            raise ValueError(f"expected {self}, got {value}")

    def __str__(self) -> str:
        return describe_range(self.low, self.high, above=self.above)


def number(help: str, low: float, high: float, *, above: bool = False) -> Parameter:
    """Describe a numeric argument, whose range stands in its help."""
    between = Between(low, high, above)
    words = str(between)
    return Parameter(help=f"{help} {words[0].upper()}{words[1:]}.", validator=between)


def setting_flag(name: str) -> Any:
    """Derive the flag of an operational setting: its type, text, default and range; None leaves it to the setting."""
    field = OperationalSettings.model_fields[name]
    text, kind = _described(field), _plain(field.annotation)
    if kind not in (int, float):
        return Annotated[kind | None, Parameter(help=text)]
    low, high, above = limits(field.metadata)
    return Annotated[kind | None, number(text, low, high, above=above)]


def _described(field: FieldInfo) -> str:
    """Put the default of a setting, or what holds without a value, before the end of its description."""
    default = (field.json_schema_extra or {}).get("unset", field.default)
    return f"{field.description.removesuffix('.')} [{default}]." if default else field.description


def _plain(annotation: Any) -> Any:
    """Return what the text of a flag is read as: a number, one of several words, or text for the setting to read."""
    kind = get_args(annotation)[0] if get_origin(annotation) in (Union, UnionType) else annotation
    return kind if kind in (int, float) or get_origin(kind) is Literal else str


Store = setting_flag("store")
Study = setting_flag("study")
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object on standard output, and nothing else there.")]

Operational = Parameter(name="*")(
    make_dataclass(
        "Operational",
        [(name, setting_flag(name), None) for name in OperationalSettings.model_fields],
        frozen=True,
        namespace={"__module__": __name__},  # of another module, cyclopts would take the class for a built-in one
    )
)
"""Every operational setting as a flag; None leaves it to the environment (EVOLVE_STORE, …) and the default."""

DEFAULTS = Operational()

Member = Annotated[
    str | None, Parameter(name="--member", help="A member, such as g0003/m05 [the delivered agent, else the elite].")
]
Seed = Annotated[int | None, number("Draws the episodes [the run's seed].", 0, SAFE_INTEGER)]
Generations = Annotated[int, number("Generations whose checkpoints are all kept.", 1, MOST_GENERATIONS)]
Steps = Annotated[int | None, number("New TOTAL of training steps; the run continues with it.", 1, SAFE_INTEGER)]
Target = Annotated[float | None, number("New target; the run continues until it is reached.", -LARGEST, LARGEST)]
