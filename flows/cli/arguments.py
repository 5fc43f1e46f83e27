"""Arguments shared by several commands. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from evo_core.config.bounds import LARGEST, MOST_GENERATIONS, SAFE_INTEGER

LONGEST_ARGUMENT = 100_000
"""Characters of one argument; a configuration as a flag's value may have as many as a file."""

MOST_SEEDS = 2**32
LONGEST_S = 30 * 86_400
"""Seconds that one phase of a member may be given: thirty days."""

MOST_WORKERS = 10_000
"""Worker processes, and runs at a time."""


@dataclass(frozen=True)
class Between:
    """Refuses numbers outside of a range; cyclopts calls it with an argument's type and value."""

    low: float
    high: float

    def __call__(self, kind: Any, value: float | None) -> None:
        """Raise ValueError unless the value is in the range; NaN never is."""
        if value is not None and not self.low <= value <= self.high:
            raise ValueError(f"expected {self}, got {value}")

    def __str__(self) -> str:
        return " to ".join(f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (self.low, self.high))


def number(help: str, low: float, high: float) -> Parameter:
    """Describe a numeric argument, whose range stands in its help."""
    between = Between(low, high)
    return Parameter(help=f"{help} {between}.", validator=between)


Store = Annotated[
    str | None, Parameter(help="Where runs are kept: a directory, file:///… or s3://bucket/prefix [runs].")
]
Study = Annotated[str | None, Parameter(help="Optuna database of the lineage [sqlite: study.db in the store].")]
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object on standard output, and nothing else there.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Operational:
    """Where a run is kept and computed; None leaves it to the environment (EVOLVE_STORE, …) and the defaults."""

    store: Store = None
    study: Study = None
    engine: Annotated[
        str | None,
        Parameter(
            help="local, a Dask scheduler (tcp://host:8786, tls://…) or a cluster class (package.Class) [local]."
        ),
    ] = None
    workers: Annotated[
        str | None, Parameter(help="Worker processes: 4, or 1..4 as members need them [one per GPU, else per core].")
    ] = None
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, Parameter(help="Device to learn on [auto].")] = None
    numerics: Annotated[
        Literal["native", "portable"] | None,
        Parameter(help="portable: the same bits on processors of all makers; slower for large networks [native]."),
    ] = None
    member_deadline: Annotated[
        float | None, number("Seconds that training or evaluating one member may take [3600].", 0, LONGEST_S)
    ] = None
    member_memory: Annotated[
        str | None, Parameter(help="Memory that a worker may take, such as 4GiB [its share of the machine].")
    ] = None
    keep_generations: Annotated[
        int | None, number("Release checkpoints that are older, all elites excepted [keep all].", 1, MOST_GENERATIONS)
    ] = None
    track: Annotated[
        str | None, Parameter(help="Trackers, separated by commas: csv, tensorboard, wandb, mlflow [none].")
    ] = None
    env_path: Annotated[
        str | None, Parameter(help="Directories, separated as in PATH, that hold packages of your own environments.")
    ] = None


Member = Annotated[
    str | None, Parameter(name="--member", help="A member, such as g0003/m05 [the delivered agent, else the elite].")
]
Seed = Annotated[int | None, number("Draws the episodes [the run's seed].", 0, SAFE_INTEGER)]
Generations = Annotated[int, number("Generations whose checkpoints are all kept [3].", 1, MOST_GENERATIONS)]
Steps = Annotated[int | None, number("New TOTAL of training steps; the run goes on with it.", 1, SAFE_INTEGER)]
Target = Annotated[float | None, number("New target; the run goes on until it is reached.", -LARGEST, LARGEST)]

DEFAULTS = Operational()
