"""Failure of a single member, with a reason from a closed list, without stopping the run."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from evo_core.records.chain import Failure, FailureDetail, FailureReason

MESSAGE_LENGTH, FRAME_LENGTH, FRAMES = 500, 200, 5
"""Limits of a stored failure: characters of its message and of each frame, and number of frames."""

REPORTED_ELSEWHERE = {"reported_elsewhere": True}
"""Marks log records whose content is reported to the user elsewhere too."""

_OURS = str(Path(__file__).parents[1])
_PASSED_THROUGH = ("gymnasium/wrappers/", "gymnasium/core.py", "gymnasium/vector/", "gymnasium/envs/registration.py")
"""Files of frames between this program and an environment."""


class Place(NamedTuple):
    """Index of the environment that failed, its steps, and the steps of its current episode."""

    environment: int
    steps: int
    episode_steps: int


class GenerationFailed(RuntimeError):
    """Raised when too few members of a generation finished; the previous generation remains the last."""


class MemberFailure(Exception):
    """Raised when a member cannot continue.

    `step` counts the environment steps of the phase so far. `detail` is free text for people: it is logged, and
    kept out of everything that is hashed. `raised` describes an exception that another process had; one of this
    process is the cause.
    """

    def __init__(
        self,
        reason: FailureReason,
        step: int,
        detail: str,
        place: Place | None = None,
        raised: FailureDetail | None = None,
    ) -> None:
        super().__init__(f"{reason} at step {step}: {detail}")
        self.reason: FailureReason = reason
        self.step = step
        self.detail = detail
        self.place = place
        self.raised = raised

    def record(self) -> Failure:
        """Store the reason and the step."""
        return Failure(reason=self.reason, step=self.step)

    def describe(self, trained: int | None = None) -> FailureDetail:
        """Describe the exception and where it was raised; `trained` are the member's steps before an evaluation."""
        where = [f"step {self.step + (trained or 0)} of the member"]
        where += ["in evaluation"] if trained is not None else []
        if self.place is not None:
            environment, steps, episode = self.place
            where += [f"environment {environment}", f"its step {steps}", f"{episode} steps into its episode"]
        raised = self.raised or describe_exception(self.__cause__) or FailureDetail(message=self.detail)
        return raised.model_copy(update={"where": ", ".join(where)})


def creation_failure(name: str, error: BaseException) -> MemberFailure:
    """Return the failure of a member whose environments could not be created."""
    return MemberFailure("environment_error", 0, f"{name}: {type(error).__name__}: {text_of(error)}")


def describe_exception(error: BaseException | None) -> FailureDetail | None:
    """Describe an exception of an environment; None for exceptions of this program, and for None."""
    if error is None or type(error).__module__.partition(".")[0] == "evo_core":
        return None
    frames = (f"{f.filename}:{f.lineno} in {f.name}: {f.line}".removesuffix(": ") for f in _own_frames(error))
    return FailureDetail(error=type(error).__name__, message=text_of(error), frames=tuple(map(plain, frames)))


def plain(text: str) -> str:
    """Escape characters that UTF-8 cannot encode."""
    return text.encode(errors="backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """Return the message of an exception, even if its `__str__` raises."""
    try:
        return plain(str(error))
    except Exception as other:
        return f"(its message cannot be read: {type(other).__name__})"


def shortened(detail: FailureDetail, conceal: Callable[[str], str] = str) -> FailureDetail:
    """Shorten a detail to one line without credentials, which `conceal` removes."""

    def clean(text: str, length: int) -> str:
        line = " ".join("".join(c if c.isprintable() else " " for c in conceal(text)).split())
        return line if len(line) <= length else f"{line[: length - 1]}…"

    return FailureDetail(
        message=clean(detail.message, MESSAGE_LENGTH),
        error=clean(detail.error, FRAME_LENGTH) if detail.error else None,
        where=clean(detail.where, FRAME_LENGTH),
        frames=tuple(clean(frame, FRAME_LENGTH) for frame in detail.frames[-FRAMES:]),
    )


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the environment's last stack frames: those below this program's and Gymnasium's, if there are any."""
    frames = list(traceback.extract_tb(error.__traceback__))
    outside = [f for f in frames if not f.filename.startswith(_OURS)]
    own = [f for f in outside if not any(part in f.filename.replace("\\", "/") for part in _PASSED_THROUGH)]
    return (own or outside or frames)[-FRAMES:]
