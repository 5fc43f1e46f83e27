"""Notices about configurations that will run but are probably not what was intended."""

from collections.abc import Iterator

import numpy as np
import torch
from gymnasium.spaces import Box

from evo_core.agent.agent import Agent, initial_state
from evo_core.config.run_config import RunConfig
from evo_core.envs.determinism import RandomActions
from evo_core.envs.inspection import EnvSpec
from evo_core.envs.patience import run_with_timeout
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.envs.vector_env import ignore_warnings
from evo_core.genome.genome import initial_genome
from evo_core.networks.distributions import make_distribution
from evo_core.networks.distributions.gaussian import DiagonalGaussian
from evo_core.records.chain import Generation
from evo_core.records.failures import MemberFailure
from evo_core.seeding import Purpose, stream
from evo_core.spaces.observations import Arrays, take

SEEDS = (1, 2)
STEPS = 32
"""Random steps of each environment, after which it has shown whether its observations change."""

PATIENCE_S = 10.0
"""Seconds that those steps may take; a run does not wait longer to begin."""

NEEDED = {"Acrobot-v1": 130_000, "LunarLander-v3": 150_000, "Pendulum-v1": 150_000}
"""Training steps after which a single agent with ordinary values typically reached -100, 200 and -200 here."""

SMALL = 0.1
"""Share below which the initial policy barely overlaps the action space."""


def notices(config: RunConfig, spec: EnvSpec) -> list[str]:
    """Return notices about a configuration that will run, after a few random steps in the environment."""
    found = [*_short_generations(config, spec), *_starved_lines(config)]
    if spec.unread_masks:
        found.append(
            f"{config.env.id} offers action_masks(), which is not called here: put the mask into the info of reset and "
            'step, info["action_mask"], or forbidden actions are tried'
        )
    try:
        shown = _random_observations(config)
    except MemberFailure:  # members will fail in the same way, and report it
        return found
    except TimeoutError:
        found.append(
            f"{config.env.id} did not finish {STEPS} random steps within {PATIENCE_S:g} s, so its observations and "
            "actions were not checked; one that hangs costs every member its deadline (--member-deadline)"
        )
        return found
    found += _constant_observations(shown)
    found += _missed_actions(config, spec, shown)
    return found


def first_generation_notices(config: RunConfig, commit: Generation) -> list[str]:
    """Return notices about the first generation, such as equal returns in all its episodes."""
    if commit.generation != 1:
        return []
    finished = [member for member in commit.members if member.evaluation is not None]
    fitnesses = {member.fitness for member in finished}
    spreads = {member.evaluation.fitness_sem for member in finished if member.evaluation is not None}
    objective = config.evaluation.objective
    if not objective.is_mean_return:
        if len(fitnesses) != 1 or not spreads <= {0.0, None}:
            return []
        return [
            f"every member of the first generation has the same fitness, {objective.title} {fitnesses.pop():g}: there "
            "is nothing to select by yet; check evaluation.fitness, or begin with an easier task"
        ]
    returns: set[float | None] = {*fitnesses}
    returns |= {update.episode_return for m in finished for update in m.training.curve if update.episodes}
    if len(returns) != 1 or not spreads <= {0.0, None}:
        return []
    return [
        f"every episode of the first generation returned {returns.pop():g}, in training and in evaluation: there is "
        "nothing to learn from or to select by yet; check the environment's reward, or begin with an easier task"
    ]


def _short_generations(config: RunConfig, spec: EnvSpec) -> Iterator[str]:
    per_env = config.training.evo_steps // config.env.num_envs
    if spec.time_limit is not None and per_env < spec.time_limit:
        yield (
            f"each environment makes {per_env} steps per generation (training.evo_steps / env.num_envs), fewer than "
            f"the time limit of {spec.time_limit}: the ends of long episodes are never seen in training"
        )


def _starved_lines(config: RunConfig) -> Iterator[str]:
    needed = NEEDED.get(config.env.id, 0)
    if config.line_steps < needed:
        yield (
            f"a line that survives to the end is trained for {config.line_steps:,} steps, and a single agent needs "
            f"about {needed:,} on {config.env.id}: raise training.max_steps to {needed * config.population.size:,}, "
            "or lower population.size"
        )


def _random_observations(config: RunConfig) -> list[Arrays]:
    """Collect the observations of random actions, STEPS + 1 times those of all environments."""
    with ignore_warnings():
        return run_with_timeout(PATIENCE_S, lambda: list(_play_at_random(config)))


def _play_at_random(config: RunConfig) -> Iterator[Arrays]:
    envs = SyncEnvs(config.env, SEEDS[: config.env.max_instances])
    try:
        actions = RandomActions(envs)
        yield take(envs.observations, slice(None))
        for _ in range(STEPS):
            envs.step(actions.draw())
            yield take(envs.observations, slice(None))
    finally:
        envs.close()


def _constant_observations(shown: list[Arrays]) -> Iterator[str]:
    first = {name: rows[:1] for name, rows in shown[0].items()}
    if all((rows == first[name]).all() for each in shown for name, rows in each.items()):
        yield (
            f"observations did not change in {STEPS} random steps, nor from seed to seed: a policy cannot tell one "
            "state from another; check what the environment observes, and env.wrappers"
        )


def _missed_actions(config: RunConfig, spec: EnvSpec, shown: list[Arrays]) -> Iterator[str]:
    """Compare mean ± 2 standard deviations of the initial policy with the bounds of continuous actions."""
    space = spec.spaces.action
    distribution = make_distribution(space, squash=config.network.squash_output)
    if type(distribution) is not DiagonalGaussian:
        return
    assert isinstance(space, Box)
    rng, std = stream(config.seed, 0, 0, Purpose.TRANSFER), config.algorithm.action_std_init
    state = initial_state(initial_genome(config, spec.spaces.observation), spec.spaces, std, rng)
    agent = Agent(state, spec.spaces)
    rows = {name: np.concatenate([each[name] for each in shown]) for name in shown[0]}
    with torch.inference_mode():
        means = agent.network.policy(agent.observe(rows), agent.no_memory(len(next(iter(rows.values())))))[0]
    mean = means.mean(0).cpu().numpy().astype(np.float64)
    low, high = space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
    missed = [i for i in range(len(mean)) if _overlap(mean[i], std, low[i], high[i]) < SMALL]
    if missed:
        i = missed[0]
        which = f"element {i}" if len(missed) == 1 else f"{len(missed)} of {len(mean)} elements, as element {i}"
        yield (
            f"the initial policy barely overlaps the action space: {which} is between {mean[i] - 2 * std:.3g} and "
            f"{mean[i] + 2 * std:.3g} (mean ± 2 algorithm.action_std_init), its bounds are {low[i]:g} and {high[i]:g}, "
            f"and what lies outside is clipped; {_remedy(space)}"
        )


def _overlap(mean: float, std: float, low: float, high: float) -> float:
    """Compute what policy and range share, relative to the larger one: 0 to 1; 1 where there is no choice."""
    if low == high:
        return 1.0
    reach, width = 4 * std, high - low
    shared = max(0.0, min(mean + 2 * std, high) - max(mean - 2 * std, low))
    return shared / (max(reach, width) if np.isfinite(width) else reach)


def _remedy(space: Box) -> str:
    if space.is_bounded() and (space.low < space.high).all():
        return "network.squash_output: true stretches the policy over the whole range"
    return "scale and shift the actions in the environment or a wrapper, so that they are around 0"
