"""Confirmation on fresh seeds: the fitness of a selected member is biased upwards, so it is evaluated again."""

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import from_bytes
from evo_core.config.run_config import RunConfig
from evo_core.evaluation.episodes import CHUNK, confirmation_seeds, play_episodes
from evo_core.evaluation.intervals import student_interval
from evo_core.numerics.provenance import one_thread
from evo_core.records.chain import Confirmation, EliteRef, FailureDetail
from evo_core.records.failures import REPORTED_ELSEWHERE, MemberFailure
from evo_core.spaces.spaces import Spaces

log = logging.getLogger(__name__)

Chunk = tuple[list[float], int]
"""Returns of one chunk's episodes, and the environment steps they took."""


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
    return played.returns.tolist(), played.steps


def confirmation(elite: EliteRef, chunks: Sequence[Chunk | None]) -> Confirmation | None:
    """Reduce the chunks of a confirmation to mean and interval; None when one of them could not be played."""
    played = [chunk for chunk in chunks if chunk is not None]
    if len(played) < len(chunks):
        return None
    returns = np.array([value for values, _ in played for value in values])
    return Confirmation(
        uid=elite.uid,
        mean=float(returns.mean()),
        ci95=student_interval(returns),
        episodes=len(returns),
        steps=sum(steps for _, steps in played),
    )
