"""A member's rollouts and minibatches as other libraries make them: all of one length, in minibatches of one size."""

import math
from dataclasses import dataclass

from evo_core.config.run_config import RunConfig
from evo_core.config.sections import AlgorithmConfig
from evo_core.ppo.rollout import rollout_lengths


@dataclass(frozen=True, slots=True)
class Rollout:
    """Lengths of a rollout: steps of each environment, minibatches of an epoch, and steps in each of them.

    `wanted` minibatches are the member's own. `even` is False if its rollouts of a generation differ by a step of each
    environment.
    """

    n_steps: int
    minibatches: int
    batch_size: int
    wanted: int
    even: bool


def rollout_of(config: RunConfig, algorithm: AlgorithmConfig) -> Rollout:
    """Return the rollout that comes nearest to the member's: the same length for every update, in equal minibatches."""
    num_envs = config.env.num_envs
    lengths = rollout_lengths(config.training.evo_steps // num_envs, algorithm.learn_step / num_envs)
    n_steps = round(sum(lengths) / len(lengths))
    steps = n_steps * num_envs
    wanted = math.ceil(steps / min(algorithm.batch_size, steps))
    minibatches = _divisor(steps, wanted)
    return Rollout(n_steps, minibatches, steps // minibatches, wanted, len(set(lengths)) == 1)


def _divisor(steps: int, wanted: int) -> int:
    """Return the number of equal minibatches: the next one from `wanted` on that divides the steps of a rollout.

    CleanRL would put a remainder into a minibatch of its own, and normalizing the advantages of a single step gives
    NaN: no minibatch has one step, unless the rollout has. Where more than twice as many minibatches would be needed,
    there are fewer than wanted.
    """
    most = max(1, min(2 * wanted, steps // 2))
    divisors = [count for count in range(1, most + 1) if steps % count == 0]
    return next((count for count in divisors if count >= wanted), divisors[-1])


def rollout_differences(config: RunConfig, algorithm: AlgorithmConfig) -> list[str]:
    """Return how this rollout differs from the member's, in sentences."""
    rollout = rollout_of(config, algorithm)
    steps, said = rollout.n_steps * config.env.num_envs, []
    if steps != algorithm.learn_step:
        mean = "" if rollout.even else " on average"
        said.append(f"rollouts had {steps} steps{mean}, learn_step asks for {algorithm.learn_step}")
    if rollout.minibatches != rollout.wanted:
        said.append(
            f"an epoch has {rollout.minibatches} minibatches of {rollout.batch_size} steps there, {rollout.wanted} of "
            f"at most {algorithm.batch_size} here: {steps} steps must be divided evenly"
        )
    return said
