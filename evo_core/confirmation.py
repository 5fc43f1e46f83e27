"""Confirmation on fresh seeds: a fitness that won a selection is biased upwards, so the winner plays again."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import stdtrit

from evo_core.agent import Agent
from evo_core.checkpoint import from_bytes
from evo_core.config import RunConfig
from evo_core.evaluation import confirmation_seeds, play_episodes
from evo_core.networks.actor_critic import Spaces
from evo_core.numerics import one_thread
from evo_core.records import Confirmation, EliteRef, Generation

Confirm = Callable[[EliteRef], Confirmation]


def confirm(
    config: RunConfig, elite: EliteRef, blob: bytes, spaces: Spaces, device: torch.device | str = "cpu"
) -> Confirmation:
    """Play `evaluation.confirm_episodes` episodes on seeds that selection never used."""
    with one_thread():
        agent = Agent(from_bytes(blob), spaces, device)
        returns, steps = play_episodes(agent, config, confirmation_seeds(config, elite.generation))
    return Confirmation(
        uid=elite.uid, mean=float(returns.mean()), ci95=_interval(returns), episodes=len(returns), steps=steps
    )


def reaches_target(config: RunConfig, generation: Generation, confirm: Confirm) -> bool:
    """Tell whether the elite reaches the target in evaluation and, asked only then, in confirmation too."""
    target, elite = config.training.target, generation.elite
    if target is None or elite is None or elite.fitness < target:
        return False
    return confirm(elite).mean >= target


def deliver(generation: Generation, confirm: Confirm) -> tuple[EliteRef, Confirmation]:
    """Choose between the last elite and the best elite ever: the better one in confirmation, the last one on ties."""
    assert generation.elite is not None and generation.best is not None
    last = generation.elite, confirm(generation.elite)
    if generation.best.blob == generation.elite.blob:
        return last
    best = generation.best, confirm(generation.best)
    return best if best[1].mean > last[1].mean else last


def _interval(returns: np.ndarray) -> tuple[float, float]:
    count = len(returns)
    half = float(stdtrit(count - 1, 0.975) * returns.std(ddof=1) / np.sqrt(count))
    mean = float(returns.mean())
    return mean - half, mean + half
