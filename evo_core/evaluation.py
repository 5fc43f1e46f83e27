"""Fitness: returns of full episodes, each in an environment of its own with a fresh seed."""

from collections.abc import Sequence

import numpy as np
import torch

from evo_core.agent import Agent
from evo_core.config import RunConfig
from evo_core.envs import make_env, require_finite, storage_dtype
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
    an environment raises, or returns what is not finite.
    """
    chunks = [_play_chunk(agent, config, seeds[i : i + CHUNK]) for i in range(0, len(seeds), CHUNK)]
    return np.concatenate([returns for returns, _ in chunks]), sum(steps for _, steps in chunks)


def summarise(returns: np.ndarray, steps: int) -> Evaluation:
    """Reduce returns to their mean, its standard error and the counts."""
    count = len(returns)
    sem = float(returns.std(ddof=1) / np.sqrt(count)) if count > 1 else None
    return Evaluation(fitness=float(returns.mean()), fitness_sem=sem, episodes=count, steps=steps)


def evaluate(agent: Agent, config: RunConfig, seeds: Sequence[int]) -> Evaluation:
    """Play one episode per seed and summarise."""
    return summarise(*play_episodes(agent, config, seeds))


def _play_chunk(agent: Agent, config: RunConfig, seeds: Sequence[int]) -> tuple[np.ndarray, int]:
    envs = [make_env(config.env) for _ in seeds]
    try:
        return _play(agent, config, envs, seeds)
    except MemberFailure:
        raise
    except Exception as error:
        raise MemberFailure("environment_error", 0, f"evaluation: {type(error).__name__}: {error}") from error
    finally:
        for env in envs:
            env.close()


def _play(agent: Agent, config: RunConfig, envs: list, seeds: Sequence[int]) -> tuple[np.ndarray, int]:  # type: ignore[type-arg]
    distribution, dtype = agent.network.distribution, storage_dtype(envs[0].observation_space)
    rng = np.random.default_rng(np.random.SeedSequence(seeds[0]))
    observations = np.stack([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]).astype(dtype)
    returns, alive, steps, length = np.zeros(len(envs)), np.arange(len(envs)), 0, 0
    with torch.inference_mode():
        while len(alive):
            require_finite(observations, steps)
            outputs = agent.network.policy(agent.observe(observations))
            if config.evaluation.deterministic:
                chosen = distribution.mode(outputs)
            else:
                noise = torch.from_numpy(distribution.noise(rng, 1, len(alive))[0]).to(agent.device)
                chosen = distribution.sample(outputs, noise)
            actions = distribution.to_env(chosen.cpu().numpy())
            results = [envs[i].step(action) for i, action in zip(alive, actions, strict=True)]
            rewards = np.array([result[1] for result in results], np.float64)
            if not np.isfinite(rewards).all():
                raise MemberFailure("nan_reward", steps, f"evaluation: rewards {rewards.tolist()}")
            returns[alive] += rewards
            steps, length = steps + len(alive), length + 1
            cut = config.evaluation.max_steps is not None and length >= config.evaluation.max_steps
            going = [not (cut or result[2] or result[3]) for result in results]
            observations = np.array([r[0] for r, on in zip(results, going, strict=True) if on], dtype)
            alive = alive[going]
    return returns, steps
