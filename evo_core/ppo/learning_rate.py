"""Schedules of the learning rate: linear decay at the end of a budget, and following the KL divergence."""

DECAY = 1 / 3
"""Last share of the budget, over which a linear schedule decays."""

FACTOR = 1.5
LOWEST, HIGHEST = 1e-5, 1e-3
"""Step and bounds of the adaptive schedule, as in rsl_rl, but for the highest rate, which is 1e-2 there.

First advantages are mostly noise and hardly move the policy, so the rate rises to its bound within an update or two. At
1e-2 the critic that is learned then takes several times the steps to recover, see benchmarks/arena/results.
"""


def decayed(lr: float, progress: float) -> float:
    """Return the learning rate after a share of the budget, 0 to 1: constant, then linear to zero at its end."""
    return lr * min(1.0, max(0.0, (1.0 - progress) / DECAY))


def adapted(lr: float, kl: float, desired: float) -> float:
    """Return the learning rate after an epoch in which the policy moved by a KL divergence.

    It falls by FACTOR above twice the desired divergence, and rises by it below half of that, as in rsl_rl, where it
    does after every minibatch (Rudin et al. 2021, "Learning to Walk in Minutes Using Massively Parallel Deep
    Reinforcement Learning"). Steps end at LOWEST and HIGHEST; a rate beyond them is not moved further out.
    """
    if kl > 2.0 * desired:
        return min(lr, max(lr / FACTOR, LOWEST))
    if kl < desired / 2.0:
        return max(lr, min(lr * FACTOR, HIGHEST))
    return lr
