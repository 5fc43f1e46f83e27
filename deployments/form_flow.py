"""Flows started by a form: invalid parameters are reported in a sentence, with the form's titles."""

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from deployments.field_titles import Refused
from evo_core.config.parsing import did_you_mean
from flows.settings import BadInput

P = ParamSpec("P")
R = TypeVar("R")


class FormFlow(Flow[P, R]):
    """Flow with readable validation errors. Prefect's own validation fails a flow run before it has a name, and reports
    a type and a signature."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Cast parameters to their types; if they are invalid, replace each by `Refused`."""
        fields = parameter_schema(self.fn).properties
        titles = {name: str(field.get("title", name)) for name, field in fields.items()}
        try:
            _check_names(parameters, titles, parameter_schema(self.fn).required)
            return super().validate_parameters(parameters)
        except (BadInput, ParameterTypeError) as error:
            return dict.fromkeys(fields, Refused(_in_titles(str(error), titles)))


def form_flow(name: str, flow_run_name: Callable[[], str]) -> Callable[[Callable[P, R]], FormFlow[P, R]]:
    """Decorate a function as a flow, like `@flow`, without a stored result."""

    def make(body: Callable[P, R]) -> FormFlow[P, R]:
        return FormFlow(body, name=name, flow_run_name=flow_run_name, persist_result=False)

    return make


def _check_names(parameters: Mapping[str, Any], titles: Mapping[str, str], required: list[str] | None) -> None:
    unknown = [
        f"{name}: there is no such field; {did_you_mean(name, titles)}" for name in parameters if name not in titles
    ]
    missing = [f"{titles[name]}: required, but missing" for name in required or () if name not in parameters]
    if problems := [*unknown, *missing]:
        raise BadInput("; ".join(problems))


def _in_titles(said: str, titles: Mapping[str, str]) -> str:
    """Replace parameter names by titles at the beginning of lines of Prefect's message."""
    problems = [line.strip().removeprefix("- ") for line in said.splitlines() if line.startswith(" - ")]
    named = []
    for problem in problems:
        place, colon, reason = problem.partition(":")
        first, *rest = place.split(".")
        named.append(f"{' → '.join([titles.get(first, first), *rest])}{colon}{reason}")
    return "; ".join(named) or said
