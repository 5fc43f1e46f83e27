"""Fitness: what full episodes are worth, each in its own environment with a fresh seed."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evo_core.agent.agent import Agent
from evo_core.config.run_config import RunConfig
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.evaluation.aggregation import aggregate, standard_error
from evo_core.evaluation.episode_measures import MeasureError, measure_episodes, recorder_for
from evo_core.evaluation.network_measures import NETWORK_MEASURES
from evo_core.networks.distributions.distribution import masked
from evo_core.records.chain import Evaluation, ObjectiveValue
from evo_core.records.failures import MemberFailure
from evo_core.seeding import POPULATION, Purpose, environment_seeds, stream
from evo_core.spaces.observations import Arrays, take

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


def report_seeds(config: RunConfig, episodes: int, seed: int | None = None) -> list[int]:
    """Draw the seeds on which a finished agent is reported, which neither selection nor confirmation draws.

    `seed` is the run's unless another one is given. They are the same for all members, so that members compare.
    """
    rng = stream(config.seed if seed is None else seed, 0, POPULATION, Purpose.REPORT)
    return environment_seeds(rng, episodes)


class Episodes(NamedTuple):
    """Full episodes: returns and lengths, both [episodes], and what they are worth, [episodes].

    `values` is the measure that `evaluation.fitness` names: the returns, unless it names another. `more` are those of
    `evaluation.objectives` that measure episodes, [episodes, objectives].
    """

    returns: np.ndarray
    lengths: np.ndarray
    values: np.ndarray
    more: np.ndarray

    @property
    def steps(self) -> int:
        """Environment steps of all episodes."""
        return int(self.lengths.sum())


def play_episodes(
    agent: Agent, config: RunConfig, seeds: Sequence[int], on_step: Callable[[SyncEnvs], None] = lambda envs: None
) -> Episodes:
    """Play one episode per seed; `on_step` sees the environments after their reset and after every step.

    Environments are stepped sequentially, regardless of the vectorization in training. Finished environments are
    dropped, so nothing is stepped for longer than its episode. Raises MemberFailure when an environment raises, when it
    returns what is not finite, and when the network does.
    """
    played: list[Episodes] = []
    for start in range(0, len(seeds), CHUNK):
        steps = sum(chunk.steps for chunk in played)
        played.append(_play_chunk(agent, config, seeds[start : start + CHUNK], steps, on_step))
    return Episodes(*(np.concatenate(parts) for parts in zip(*played, strict=True)))


_NOTHING = np.zeros((CHUNK, 0))


def summarize(agent: Agent, played: Episodes, config: RunConfig, rng: np.random.Generator) -> Evaluation:
    """Reduce episodes to fitness, its standard error and the counts; keep the returns. `rng` resamples."""
    objective, each = config.evaluation.objective, tuple(played.returns.tolist())
    return Evaluation(
        fitness=aggregate(played.values, objective),
        fitness_sem=standard_error(played.values, objective, rng),
        episodes=len(each),
        steps=played.steps,
        returns=each,
        values=None if objective.measure == "return" else tuple(played.values.tolist()),
        objectives=summarize_objectives(agent, played.more, config, rng),
    )


def summarize_objectives(
    agent: Agent, more: np.ndarray, config: RunConfig, rng: np.random.Generator
) -> tuple[ObjectiveValue, ...]:
    """Reduce what episodes are worth by further objectives, [episodes, objectives], and measure the network."""
    columns, found = iter(more.T), []
    for objective in config.evaluation.objectives:
        if objective.of_member:
            found.append(ObjectiveValue(name=objective.title, value=float(NETWORK_MEASURES[objective.measure](agent))))
            continue
        values = next(columns)
        sem = standard_error(values, objective, rng)
        found.append(ObjectiveValue(name=objective.title, value=aggregate(values, objective), sem=sem))
    return tuple(found)


def evaluate(agent: Agent, config: RunConfig, seeds: Sequence[int]) -> Evaluation:
    """Play one episode per seed and summarize."""
    rng = stream(config.seed, seeds[0], POPULATION, Purpose.RESAMPLE)
    return summarize(agent, play_episodes(agent, config, seeds), config, rng)


def _play_chunk(
    agent: Agent, config: RunConfig, seeds: Sequence[int], steps: int, on_step: Callable[[SyncEnvs], None]
) -> Episodes:
    """Play a chunk with no more environments open at a time than `env.max_instances`, and the same result for each.

    A network's outputs depend in their last bits on how many observations it sees at once, and on the place among
    them. So a group plays in a batch that the others have a place in as long as their episodes are; how long that is
    is known once all groups have played, so they play again until the lengths are those that were assumed.
    """
    most = config.env.max_instances or len(seeds)
    groups = [np.arange(len(seeds))[start : start + most] for start in range(0, len(seeds), most)]
    assumed: np.ndarray = np.full(len(seeds), np.iinfo(np.int64).max)
    while True:
        parts = [_play_group(agent, config, seeds, group, assumed, steps, on_step) for group in groups]
        played = Episodes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        if len(groups) == 1 or (played.lengths == assumed).all():
            return played
        assumed = played.lengths


def _play_group(
    agent: Agent,
    config: RunConfig,
    seeds: Sequence[int],
    group: np.ndarray,
    assumed: np.ndarray,
    steps: int,
    on_step: Callable[[SyncEnvs], None],
) -> Episodes:
    envs = SyncEnvs(config.env, [seeds[index] for index in group])
    envs.steps = steps
    recorder = envs.on_values = recorder_for(config, len(group))
    try:
        returns, lengths = _play(agent, config, envs, seeds, group, assumed, on_step)
        values, *more = measure_episodes(config.evaluation.episode_objectives, recorder, returns, lengths)
        return Episodes(returns, lengths, values, np.stack(more, 1) if more else _NOTHING[: len(group)])
    except MeasureError as error:
        raise MemberFailure("fitness_error", envs.steps, f"{envs.name}: {error}") from error.__cause__
    finally:
        envs.close()


def _play(
    agent: Agent,
    config: RunConfig,
    envs: SyncEnvs,
    seeds: Sequence[int],
    group: np.ndarray,
    assumed: np.ndarray,
    on_step: Callable[[SyncEnvs], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Play the episodes `group` of a chunk, whose other episodes are `assumed` to be so long: returns and lengths."""
    drawn = not config.evaluation.deterministic
    rng = stream(config.seed, seeds[0], POPULATION, Purpose.EVALUATION_ACTIONS) if drawn else None
    returns, lengths, alive = np.zeros(len(group)), np.zeros(len(group), np.int64), np.arange(len(group))
    others = np.ones(len(seeds), np.bool_)
    others[group] = False
    memory, length = agent.no_memory(len(group)), 0
    on_step(envs)
    with torch.inference_mode():
        while len(alive):
            company = group[alive]
            if others.any():
                company = np.union1d(company, np.flatnonzero(others & (assumed > length)))
            places = np.searchsorted(company, group[alive])
            actions, memory = _act(agent, envs, alive, places, len(company), memory, rng)
            rewards, ended = envs.advance_some(alive, actions)
            on_step(envs)
            length += 1
            returns[alive] += rewards
            lengths[alive] = length
            cut = config.evaluation.max_steps is not None and length >= config.evaluation.max_steps
            if cut or ended.any():
                going = ~ended & (not cut)
                alive, memory = alive[going], memory[agent.move(going)]
    return returns, lengths


def _act(
    agent: Agent,
    envs: SyncEnvs,
    alive: np.ndarray,
    places: np.ndarray,
    count: int,
    memory: Tensor,
    rng: np.random.Generator | None,
) -> tuple[Iterable[Any], Tensor]:
    """Choose actions: the most likely ones, or sampled ones if a generator is given; and update the memory.

    The environments that are `alive` have the `places` in a batch of `count` rows, in which the others are fillers.
    """
    distribution = agent.network.distribution
    rows, whole = take(envs.observations, alive), count == len(alive)
    if not whole:
        rows, memory = _spread(rows, places, count), _spread_memory(memory, places, count)
    outputs, memory = agent.network.policy(agent.observe(rows), memory)
    noise = None if rng is None else torch.from_numpy(distribution.noise(rng, 1, count)[0]).to(agent.device)
    if not whole:
        chosen = torch.from_numpy(places).to(agent.device)
        outputs, memory, noise = outputs[chosen], memory[chosen], None if noise is None else noise[chosen]
    if not math.isfinite(float(outputs.sum())) and not bool(torch.isfinite(outputs).all()):  # a sum may overflow
        raise MemberFailure("nan_loss", envs.steps, f"network outputs {outputs.tolist()}")
    outputs = masked(outputs, None if envs.masks is None else agent.move(envs.masks[alive]))
    actions = distribution.mode(outputs) if noise is None else distribution.sample(outputs, noise)
    return distribution.to_env(actions.cpu().numpy()), memory


def _spread(rows: Arrays, places: np.ndarray, count: int) -> Arrays:
    """Scatter rows into a batch; other places repeat the first row, because not every space contains zero."""
    batch = {name: np.repeat(values[:1], count, axis=0) for name, values in rows.items()}
    for name, values in rows.items():
        batch[name][places] = values
    return batch


def _spread_memory(memory: Tensor, places: np.ndarray, count: int) -> Tensor:
    batch = memory.new_zeros((count, memory.shape[1]))
    batch[torch.from_numpy(places).to(memory.device)] = memory
    return batch
