"""A fitness that prefers steady agents."""

from evo_core.evaluation.episode_measures import Episode


def steady(episode: Episode) -> float:
    """Return the discounted return, less a hundredth of what the rewards vary."""
    return episode.discounted_return - 0.01 * float(episode.rewards.std())
