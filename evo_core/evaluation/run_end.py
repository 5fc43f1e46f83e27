"""How a run ends: its target is confirmed or its budget is spent; and which agent it delivers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evo_core.config.run_config import RunConfig
from evo_core.records.chain import Confirmation, EliteRef, Generation

Confirm = Callable[[EliteRef], Confirmation | None]
"""Function that confirms an elite, or returns None when its environment broke. May raise NotConfirmed."""


class NotConfirmed(Exception):
    """Raised by a `Confirm` that only reads a store, for a confirmation that was not played yet."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The outcome of a run: its status, the delivered agent, and that agent's score on fresh episodes."""

    status: Literal["target_reached", "budget_spent"]
    elite: EliteRef
    confirmed: Confirmation | None


def reaches_target(config: RunConfig, generation: Generation, confirm: Confirm) -> bool:
    """Return True if the elite reaches the target in evaluation and, checked only then, in confirmation."""
    target, elite, objective = config.training.target, generation.elite, config.evaluation.objective
    if target is None or elite is None or not objective.reaches(elite.fitness, target):
        return False
    confirmed = confirm(elite)
    return confirmed is not None and objective.reaches(confirmed.mean, target)


def is_spent(config: RunConfig, head: Generation) -> bool:
    """Return True if less than one more generation remains of the budget."""
    if config.population.sizing == "adaptive":
        return head.train_steps + len(head.offspring) * config.training.evo_steps > config.training.max_steps
    return head.generation >= config.max_generations


def also_confirmed(config: RunConfig, head: Generation, elite: EliteRef) -> EliteRef | None:
    """Return the elite that is confirmed with the last one: the best ever once the budget is spent, see `deliver`."""
    if elite != head.elite or head.best is None or head.best.blob == elite.blob or not is_spent(config, head):
        return None
    return head.best


def find_ending(config: RunConfig, head: Generation | None, confirm: Confirm) -> Ending | None:
    """Return how a run ended whose last COMMIT is `head`; None when training or confirmation is incomplete.

    The target is reached only in evaluation and confirmation both; otherwise the run ends with its budget.
    """
    if head is None or head.elite is None:
        return None
    try:
        reached = reaches_target(config, head, confirm)
        if not reached and not is_spent(config, head):
            return None
        if reached and config.evaluation.objectives:  # the target is one of fitness, which the elite has reached
            return Ending("target_reached", head.elite, confirm(head.elite))
        return Ending("target_reached" if reached else "budget_spent", *deliver(config, head, confirm))
    except NotConfirmed:
        return None


def deliver(config: RunConfig, generation: Generation, confirm: Confirm) -> tuple[EliteRef, Confirmation | None]:
    """Choose between the last elite and the best elite ever: the better one in confirmation, the last one on ties.

    With further objectives neither is better: the one that `evaluation.deliver` chose from the front is delivered.
    """
    assert generation.elite is not None and generation.best is not None
    if config.evaluation.objectives:
        return generation.best, confirm(generation.best)
    last = generation.elite, confirm(generation.elite)
    if generation.best.blob == generation.elite.blob:
        return last
    best = generation.best, confirm(generation.best)
    if best[1] is None or (last[1] is not None and not config.evaluation.objective.better(best[1].mean, last[1].mean)):
        return last
    return best
