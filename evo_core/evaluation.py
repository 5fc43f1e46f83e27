"""Fitness: returns of full episodes, each in an environment of its own with a fresh seed."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from evo_core.agent import Agent
from evo_core.config import RunConfig
from evo_core.envs import VectorEnvs, environment_error, make_vect_envs, require_sound
from evo_core.failures import MemberFailure
from evo_core.records import Evaluation
from evo_core.seeding import POPULATION, Purpose, environment_seeds, stream

CHUNK = 25
"""Episodes played side by side; fixed, because the batch that a network sees decides the last bits of its outputs."""


def evaluation_seeds(config: RunConfig, generation: int) -> list[int]:
    """Draw the seeds on which every member of a generation is evaluated."""
    rng = stream(config.seed, generation, POPULATION, Purpose.EVALUATE)
    return environment_seeds(rng, config.evaluation.episodes)


def confirmation_seeds(config: RunConfig, generation: int) -> list[int]:
    """Draw the fresh seeds on which a generation's elite is confirmed."""
    rng = stream(config.seed, generation, POPULATION, Purpose.CONFIRM)
    return environment_seeds(rng, config.evaluation.confirm_episodes)


def play_episodes(agent: Agent, config: RunConfig, seeds: Sequence[int]) -> tuple[np.ndarray, int]:
    """Play one episode per seed; return the returns [episodes] and the number of environment steps.

    Finished environments are dropped, so nothing is stepped for longer than its episode. Raises MemberFailure when
    an environment raises, when it returns what is not finite, and when the network does.
    """
    returns, steps = [], 0
    for start in range(0, len(seeds), CHUNK):
        played, steps = _play_chunk(agent, config, seeds[start : start + CHUNK], steps)
        returns.append(played)
    return np.concatenate(returns), steps


def summarise(returns: np.ndarray, steps: int) -> Evaluation:
    """Reduce returns to their mean, its standard error and the counts."""
    count = len(returns)
    sem = float(returns.std(ddof=1) / np.sqrt(count)) if count > 1 else None
    return Evaluation(fitness=float(returns.mean()), fitness_sem=sem, episodes=count, steps=steps)


def evaluate(agent: Agent, config: RunConfig, seeds: Sequence[int]) -> Evaluation:
    """Play one episode per seed and summarise."""
    return summarise(*play_episodes(agent, config, seeds))


def _play_chunk(agent: Agent, config: RunConfig, seeds: Sequence[int], steps: int) -> tuple[np.ndarray, int]:
    envs = make_vect_envs(config.env, seeds)
    try:
        return _play(agent, config, envs, seeds, steps)
    finally:
        envs.close()


def _play(
    agent: Agent, config: RunConfig, vector: VectorEnvs, seeds: Sequence[int], steps: int
) -> tuple[np.ndarray, int]:
    rng = stream(config.seed, seeds[0], POPULATION, Purpose.EVALUATION_ACTIONS)
    observations, space = vector.observations, vector.spaces.observation
    returns, alive, length = np.zeros(len(seeds)), np.arange(len(seeds)), 0
    with torch.inference_mode():
        while len(alive):
            actions = _act(agent, observations, rng if not config.evaluation.deterministic else None, steps)
            try:
                results = [vector.envs[i].step(action) for i, action in zip(alive, actions, strict=True)]
            except (Exception, SystemExit) as error:
                raise environment_error(error, steps) from error
            observations = np.array([result[0] for result in results], observations.dtype)
            rewards = np.array([result[1] for result in results], np.float64)
            steps, length = steps + len(alive), length + 1
            require_sound(observations, space, steps)
            if not np.isfinite(rewards).all():
                raise MemberFailure("nan_reward", steps, f"rewards {rewards.tolist()}")
            returns[alive] += rewards
            cut = config.evaluation.max_steps is not None and length >= config.evaluation.max_steps
            going = np.array([not (cut or result[2] or result[3]) for result in results])
            observations, alive = observations[going], alive[going]
    return returns, steps


def _act(agent: Agent, observations: np.ndarray, rng: np.random.Generator | None, steps: int) -> Iterable[Any]:
    """Choose what the environments get: the most likely actions, or with a generator drawn ones."""
    distribution = agent.network.distribution
    outputs = agent.network.policy(agent.observe(observations))
    if not bool(torch.isfinite(outputs).all()):
        raise MemberFailure("nan_loss", steps, f"network outputs {outputs.tolist()}")
    if rng is None:
        return distribution.to_env(distribution.mode(outputs).cpu().numpy())
    noise = torch.from_numpy(distribution.noise(rng, 1, len(observations))[0]).to(agent.device)
    return distribution.to_env(distribution.sample(outputs, noise).cpu().numpy())
