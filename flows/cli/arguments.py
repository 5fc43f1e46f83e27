"""Arguments shared by several commands; those of operational settings are derived. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Parameter
from pydantic.fields import FieldInfo

from evo_core.config.bounds import SAFE_INTEGER, describe_range, limits
from flows.operational import OperationalSettings

LONGEST_ARGUMENT = 100_000
"""Maximum length of one argument; a configuration passed as a flag may be as long as a file."""


@dataclass(frozen=True)
class Between:
    """Validator of numbers in a range; cyclopts calls it with an argument's type and value."""

    low: float
    high: float
    above: bool = False
    """Exclude the lower bound."""

    def __call__(self, kind: Any, value: float | None) -> None:
        """Raise ValueError unless the value is in the range; NaN never is."""
        if value is not None and not (self.low <= value <= self.high and not (self.above and value == self.low)):
            raise ValueError(f"expected {self}, got {value}")

    def __str__(self) -> str:
        return describe_range(self.low, self.high, above=self.above)


def number(help: str, low: float, high: float, *, above: bool = False) -> Parameter:
    """Return the parameter of a numeric argument, with the range in its help."""
    between = Between(low, high, above)
    words = str(between)
    return Parameter(help=f"{help} {words[0].upper()}{words[1:]}.", validator=between)


def setting_flag(name: str) -> Parameter:
    """Describe the flag of an operational setting: its text, default and range."""
    field = OperationalSettings.model_fields[name]
    text = _described(field)
    if _plain(field.annotation) not in (int, float):
        return Parameter(help=text)
    low, high, above = limits(field.metadata)
    return number(text, low, high, above=above)


def _described(field: FieldInfo) -> str:
    """Insert the default of a setting, or its effect without a value, at the end of its description."""
    extra, text = field.json_schema_extra, field.description or ""
    default = extra["unset"] if isinstance(extra, dict) else field.default
    return f"{text.removesuffix('.')} [{default}]." if default else text


def _plain(annotation: Any) -> Any:
    """Return the type that a flag is parsed as: a number, one of several words, or text that the setting parses."""
    kind = get_args(annotation)[0] if get_origin(annotation) in (Union, UnionType) else annotation
    return kind if kind in (int, float) or get_origin(kind) is Literal else str


Run = Annotated[str, Parameter(name="RUN")]
Store = Annotated[str | None, setting_flag("store")]
Study = Annotated[str | None, setting_flag("study")]
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object on standard output, and nothing else there.")]
Overrides = Annotated[Mapping[str, object], Parameter(parse=False)]
"""Configuration flags, such as --algorithm.lr 3e-4, which are parsed separately."""

NO_OVERRIDES: Mapping[str, object] = {}

if TYPE_CHECKING:

    @dataclass(frozen=True)
    class Operational:
        """Every operational setting as a flag; None leaves it to the environment (EVOLVE_STORE, …) and the default."""

else:
    Operational = Parameter(name="*")(
        make_dataclass(
            "Operational",
            [
                (name, Annotated[_plain(field.annotation) | None, setting_flag(name)], None)
                for name, field in OperationalSettings.model_fields.items()
            ],
            frozen=True,
            namespace={"__module__": __name__},  # of another module, cyclopts would take the class for a built-in one
        )
    )

DEFAULTS = Operational()

MemberName = Annotated[
    str | None, Parameter(name="--member", help="A member, such as g0003/m05 [the delivered agent, else the elite].")
]
Deliver = Annotated[
    str | None,
    Parameter(
        help="Of the front of a run with objectives: knee, fitness or an objective's measure [evaluation.deliver]."
    ),
]
Seed = Annotated[int | None, number("Draws the episodes [the run's seed].", 0, SAFE_INTEGER)]
