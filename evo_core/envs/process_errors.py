"""Transport of exceptions from environment subprocesses to the learner, whatever their type."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evo_core.envs.process_warnings import write_remarks
from evo_core.envs.step_values import ReturnedError
from evo_core.genome.architecture import Record
from evo_core.records.chain import FailureDetail
from evo_core.records.failures import MemberFailure, Place, describe_exception, text_of
from evo_core.spaces.observations import InvalidObservation

if TYPE_CHECKING:
    from evo_core.envs.vector_env import VectorEnvs


class _Fault(Record):
    """An exception of one environment, or the description of an invalid observation."""

    environment: int
    text: str
    raised: FailureDetail | None


class TransportedError(Exception):
    """Exception that carries a fault out of a subprocess as text.

    Gymnasium sends type and value of an exception, and raises another one of that type: one that cannot be pickled ends
    the process instead, one with other arguments raises a TypeError, and index and traceback are lost.
    """

    def failure(self, envs: "VectorEnvs") -> MemberFailure:
        """Convert the error to a failure of the member."""
        fault = _Fault.model_validate_json(str(self))
        said = f"{envs.name}: {fault.text}"
        return MemberFailure("environment_error", envs.steps, said, envs.place(fault.environment), fault.raised)


@contextmanager
def transport_exceptions(index: int) -> Iterator[None]:
    """Convert exceptions of the body, in the process of an environment, to a TransportedError."""
    try:
        yield
    except (Exception, SystemExit) as error:
        write_remarks()
        raise TransportedError(_fault(index, error).model_dump_json()) from None


@contextmanager
def exit_with_fault_file(index: int, directory: Path) -> Iterator[None]:
    """Write what the body raises to a file, and exit: the environment could not be created."""
    try:
        yield
    except (Exception, SystemExit) as error:
        write_remarks()
        (directory / f"{index}.json").write_text(_fault(index, error).model_dump_json())
        os._exit(1)


def read_fault_file(name: str, directory: Path) -> MemberFailure:
    """Read why the process of an environment ended before the environment was created."""
    for path in sorted(directory.glob("*.json")):
        fault = _Fault.model_validate_json(path.read_text())
        said, place = f"{name}: {fault.text}", Place(fault.environment, 0, 0)
        return MemberFailure("environment_error", 0, said, place, fault.raised)
    return MemberFailure("environment_error", 0, f"{name}: a process ended while creating the environment")


def _fault(index: int, error: BaseException) -> _Fault:
    if isinstance(error, InvalidObservation):
        return _Fault(environment=index, text=f"observation, {error}", raised=None)
    if isinstance(error, ReturnedError):
        return _Fault(environment=index, text=str(error), raised=None)
    return _Fault(environment=index, text=f"{type(error).__name__}: {text_of(error)}", raised=describe_exception(error))
