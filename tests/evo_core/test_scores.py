"""Scores of many episodes against known numbers."""

import numpy as np
import pytest

from evo_core.evaluation.episodes import confirmation_seeds, evaluation_seeds, report_seeds
from evo_core.evaluation.scores import interquartile_mean, score
from tests.conftest import make_config


def scored(returns, seed=0):
    returns = np.array(returns, np.float64)
    return score(returns, np.arange(1, len(returns) + 1), np.random.default_rng(seed))


def test_the_numbers_are_the_textbook_ones():
    found = scored([1, 2, 3, 4, 5, 6, 7, 100])
    assert found.mean == 16 and found.iqm == 4.5
    assert found.sem == pytest.approx(np.std([1, 2, 3, 4, 5, 6, 7, 100], ddof=1) / np.sqrt(8))
    assert (found.min, found.max, found.episodes) == (1, 100, 8)
    assert (found.length, found.length_min, found.length_max) == (4.5, 1, 8)


def test_the_interquartile_mean_drops_a_quarter_at_each_end_of_an_axis():
    rows = np.array([[0, 10, 20, 1000], [-50, 1, 2, 3]], np.float64)
    assert interquartile_mean(rows, axis=1).tolist() == [15, 1.5]


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(40):
        low, high = score(rng.exponential(size=60), np.ones(60), np.random.default_rng(trial)).mean_ci95
        inside += low <= 1 <= high
    assert 34 <= inside <= 40


def test_the_same_generator_gives_the_same_intervals():
    returns = np.random.default_rng(0).normal(size=30)
    assert scored(returns) == scored(returns)
    assert scored(returns).mean_ci95 != scored(returns, seed=1).mean_ci95


def test_equal_returns_have_an_interval_of_no_width_and_one_episode_has_none():
    solved = scored([500.0] * 20)
    assert solved.mean_ci95 == solved.iqm_ci95 == (500, 500) and solved.sem == 0
    one = scored([3.0])
    assert one.mean == one.iqm == 3 and (one.sem, one.mean_ci95, one.iqm_ci95) == (None, None, None)


def test_report_seeds_are_used_nowhere_else_and_extend_consistently():
    config = make_config()
    seeds = report_seeds(config, 50)
    for generation in range(10):
        assert set(seeds).isdisjoint(evaluation_seeds(config, generation) + confirmation_seeds(config, generation))
    assert report_seeds(config, 200)[:50] == seeds == report_seeds(config, 50, config.seed)
    assert set(report_seeds(config, 50, 7)).isdisjoint(seeds)
