"""Selection: the best goes on, the failed never do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from evo_core.config.sections import SelectionConfig
from evo_core.evolution.selection import select, selection_score
from evo_core.records.chain import BlobRef, Evaluation, Member, Mutation, Offspring, Training

scores_of = st.lists(st.one_of(st.floats(allow_infinity=False), st.just(-np.inf)), min_size=1, max_size=12)


@given(scores_of, st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(0, 2**32))
def test_parents_are_finite_members_and_the_elite_is_the_best(scores, size, tournament, elitism, seed):
    config = SelectionConfig(tournament_size=tournament, elitism=elitism)
    finite = [i for i, s in enumerate(scores) if np.isfinite(s)]
    if not finite:
        with pytest.raises(ValueError, match="at least one finished member"):
            select(scores, size, config, np.random.default_rng(seed))
        return
    draw = select(scores, size, config, np.random.default_rng(seed))
    assert len(draw.parents) == size
    assert set(draw.parents) <= set(finite)
    assert scores[draw.elite] == max(scores[i] for i in finite)
    if elitism:
        assert draw.parents[0] == draw.elite
    assert draw == select(scores, size, config, np.random.default_rng(seed))


def test_a_tournament_of_everybody_always_takes_the_best():
    config = SelectionConfig(tournament_size=4, elitism=False)
    assert set(select([1, 5, 3, 4], 50, config, np.random.default_rng(0)).parents) == {1}


def test_a_tournament_of_two_prefers_the_better_in_proportion_to_rank():
    config = SelectionConfig(tournament_size=2, elitism=False)
    parents = select([0, 1, 2, 3], 6000, config, np.random.default_rng(0)).parents
    shares = np.bincount(parents, minlength=4) / 6000
    assert shares == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6], abs=0.03)  # pairs without replacement


def test_equal_scores_have_equal_chances_in_tournaments_and_as_elite():
    config, size = SelectionConfig(tournament_size=2), 8
    draws = [select([3.0] * size, size, config, np.random.default_rng(seed)) for seed in range(2000)]
    elites = np.bincount([draw.elite for draw in draws], minlength=size)
    children = np.bincount([parent for draw in draws for parent in draw.parents[1:]], minlength=size)
    assert chisquare(elites).pvalue > 1e-3
    assert chisquare(children).pvalue > 1e-3


def test_ties_are_broken_among_the_best_alone():
    config = SelectionConfig(tournament_size=4, elitism=False)
    parents = select([5, 1, 5, 3], 2000, config, np.random.default_rng(0)).parents
    assert set(parents) == {0, 2}
    assert parents.count(0) == pytest.approx(1000, abs=100)


def test_the_draw_of_different_scores_is_pinned():
    config = SelectionConfig(tournament_size=3)
    draw = select([1.0, 7.0, np.nan, 3.0, 2.0, 6.0], 6, config, np.random.default_rng(5))
    assert (draw.elite, draw.parents) == (1, (1, 3, 1, 1, 5, 3))


def test_nan_never_wins():
    draw = select([np.nan, 1.0, np.nan], 20, SelectionConfig(tournament_size=3), np.random.default_rng(0))
    assert set(draw.parents) == {1}
    assert draw.scores == (None, 1.0, None)


@pytest.mark.parametrize(("window", "expected"), [(1, 6.0), (2, 5.0), (3, 4.0), (9, 4.0)])
def test_a_score_is_the_mean_of_the_last_fitnesses_of_a_line(window, expected):
    offspring = Offspring.model_construct(
        uid="g0003/m00", mutation=Mutation(kind="none"), ancestor_fitness=(2.0, 4.0), parent=None
    )
    training = Training(uid="g0003/m00", steps=1, blob=BlobRef(sha256="0" * 64, size=1))
    evaluation = Evaluation(fitness=6.0, fitness_sem=None, episodes=1, steps=1)
    member = Member.model_construct(offspring=offspring, training=training, evaluation=evaluation, failure=None)
    assert selection_score(member, window) == expected
    assert selection_score(member.model_copy(update={"evaluation": None}), window) == -np.inf
