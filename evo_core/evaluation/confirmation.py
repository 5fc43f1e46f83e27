"""Confirmation on fresh seeds: the fitness of a selected member is biased upwards, so it is evaluated again."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import from_bytes
from evo_core.config.run_config import RunConfig
from evo_core.evaluation.aggregation import aggregate, interval, standard_error
from evo_core.evaluation.episodes import CHUNK, confirmation_seeds, play_episodes
from evo_core.numerics.provenance import one_thread
from evo_core.records.chain import Confirmation, EliteRef, FailureDetail, ObjectiveValue
from evo_core.records.failures import REPORTED_ELSEWHERE, MemberFailure
from evo_core.seeding import POPULATION, Purpose, stream
from evo_core.spaces.spaces import Spaces

log = logging.getLogger(__name__)


class Chunk(NamedTuple):
    """One chunk's episodes: what each was worth, the environment steps that all took, and their returns.

    `more`: what each was worth by the further objectives of episodes, [episodes][objectives].
    """

    values: list[float]
    steps: int
    returns: list[float]
    more: Sequence[Sequence[float]] = ()


def chunk_count(config: RunConfig) -> int:
    """Return the number of chunks of a confirmation, which are independent and may be played in any order."""
    return math.ceil(config.evaluation.confirm_episodes / CHUNK)


def play_chunk(
    config: RunConfig,
    elite: EliteRef,
    blob: bytes,
    spaces: Spaces,
    chunk: int,
    device: torch.device | str = "cpu",
    on_failure: Callable[[FailureDetail], None] = lambda detail: None,
) -> Chunk | None:
    """Play one chunk of the episodes that confirm an elite, on seeds that selection never used. Returns None when the
    environment breaks, and calls `on_failure` with the details.
    """
    seeds = confirmation_seeds(config, elite.generation)[chunk * CHUNK : (chunk + 1) * CHUNK]
    try:
        with one_thread():
            played = play_episodes(Agent(from_bytes(blob, spaces), spaces, device), config, seeds)
    except MemberFailure as failure:
        log.warning("%s cannot be confirmed: %s", elite.uid, failure, extra=REPORTED_ELSEWHERE)
        on_failure(failure.describe())
        return None
    return Chunk(played.values.tolist(), played.steps, played.returns.tolist(), played.more.tolist())


def confirmation(config: RunConfig, elite: EliteRef, chunks: Sequence[Chunk | None]) -> Confirmation | None:
    """Reduce the chunks of a confirmation to fitness and interval; None when one of them could not be played."""
    played = [chunk for chunk in chunks if chunk is not None]
    if len(played) < len(chunks):
        return None
    objective = config.evaluation.objective
    values = np.array([value for chunk in played for value in chunk.values])
    rng = stream(config.seed, elite.generation, POPULATION, Purpose.RESAMPLE)
    record = Confirmation(
        uid=elite.uid,
        mean=aggregate(values, objective),
        ci95=interval(values, objective, rng),
        episodes=len(values),
        steps=sum(chunk.steps for chunk in played),
    )
    beside: dict[str, object] = {"objectives": _confirm_objectives(config, elite, played, rng)}
    if not objective.is_mean_return:
        returns = float(np.mean([value for chunk in played for value in chunk.returns]))
        beside |= {"measured": objective.title, "mean_return": returns}
    return record.model_copy(update=beside)


def _confirm_objectives(
    config: RunConfig, elite: EliteRef, chunks: Sequence[Chunk], rng: np.random.Generator
) -> tuple[ObjectiveValue, ...]:
    """Return the further objectives on fresh seeds; those of the network are what they were."""
    columns = iter(np.array([row for chunk in chunks for row in chunk.more]).T)
    found = []
    for objective, before in zip(config.evaluation.objectives, elite.objectives, strict=True):
        if objective.of_member:
            found.append(before)
            continue
        values = next(columns)
        sem = standard_error(values, objective, rng)
        found.append(ObjectiveValue(name=objective.title, value=aggregate(values, objective), sem=sem))
    return tuple(found)
