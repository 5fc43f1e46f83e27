"""Arguments that several commands take. Nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

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
        float | None, Parameter(help="Seconds that training or evaluating one member may take [3600].")
    ] = None
    member_memory: Annotated[
        str | None, Parameter(help="Memory that a worker may take, such as 4GiB [its share of the machine].")
    ] = None
    keep_generations: Annotated[
        int | None, Parameter(help="Release checkpoints that are older, all elites excepted [keep all].")
    ] = None
    track: Annotated[
        str | None, Parameter(help="Trackers, separated by commas: csv, tensorboard, wandb, mlflow [none].")
    ] = None


Member = Annotated[
    str | None, Parameter(name="--member", help="A member, such as g0003/m05 [the delivered agent, else the elite].")
]
Seed = Annotated[int | None, Parameter(help="Draws the episodes [the run's seed].")]

DEFAULTS = Operational()
