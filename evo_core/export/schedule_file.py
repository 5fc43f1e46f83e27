"""A member's schedule as a file: what its line of descent was trained with, generation by generation."""

from collections.abc import Sequence

from pydantic import JsonValue, ValidationError

from evo_core.config.parsing import ConfigError
from evo_core.config.run_config import RunConfig
from evo_core.genome.architecture import Record
from evo_core.genome.genome import Genome, algorithm_of
from evo_core.records.chain import Confirmation, Member, Mutation

FORMAT = 1
"""Version of the file's fields."""


class Stage(Record):
    """One generation of the line: environment steps `[begin, end)` of its weights, and what they were trained with.

    `algorithm` are all hyperparameters, those that do not evolve too; `genome` holds the network's sizes.
    """

    generation: int
    uid: str
    begin: int
    end: int
    algorithm: dict[str, JsonValue]
    genome: Genome
    mutation: Mutation
    fitness: float | None


class Schedule(Record):
    """The schedule of a member, with the configuration of its run. `confirmed`: its score on fresh seeds, if known."""

    format: int = FORMAT
    run_id: str
    member: str
    config: RunConfig
    stages: tuple[Stage, ...]
    confirmed: Confirmation | None = None

    @property
    def genomes(self) -> tuple[Genome, ...]:
        """The genome of every stage."""
        return tuple(stage.genome for stage in self.stages)


def make_schedule(
    run_id: str, config: RunConfig, line: Sequence[Member], confirmed: Confirmation | None = None
) -> Schedule:
    """Return the schedule of a line of descent, without members that were not trained (archived ones)."""
    return Schedule(
        run_id=run_id,
        member=line[-1].uid,
        config=config,
        stages=tuple(_stage(config, member) for member in line if not member.offspring.archived),
        confirmed=confirmed,
    )


def read_schedule(content: bytes, name: str) -> Schedule:
    """Read a schedule's file; ConfigError says what is wrong with it."""
    try:
        schedule = Schedule.model_validate_json(content)
    except (ValidationError, KeyError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": f"unknown kind {error}"}
        place = ".".join(map(str, first["loc"]))
        said = f"{f'{place}: ' if place else ''}{first['msg']}"
        raise ConfigError([f"{name}: {said}; expected a file of `evolve export --format config`"]) from None
    if schedule.format != FORMAT:
        raise ConfigError([f"{name}: expected format {FORMAT}, got {schedule.format}; export it with this version"])
    if not schedule.stages:
        raise ConfigError([f"{name}: stages: expected at least one generation, got none"])
    return schedule


def _stage(config: RunConfig, member: Member) -> Stage:
    begin = member.offspring.lineage_steps
    return Stage(
        generation=member.offspring.generation,
        uid=member.uid,
        begin=begin,
        end=begin + member.training.steps,
        algorithm=algorithm_of(member.offspring.genome, config).model_dump(mode="json"),
        genome=member.offspring.genome,
        mutation=member.offspring.mutation,
        fitness=member.fitness,
    )
