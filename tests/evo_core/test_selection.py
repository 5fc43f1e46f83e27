"""Selection: the best goes on, the failed never do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from evo_core.config.evolution_sections import SelectionConfig
from evo_core.config.objectives import Objective
from evo_core.evolution.selection import is_better, select, selection_score, unmutated_slots
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


@given(scores_of, st.floats(0.01, 0.5), st.integers(0, 2**32))
def test_truncation_replaces_the_worst_by_the_best_and_nobody_else(scores, quantile, seed):
    config, size = SelectionConfig(method="truncation", quantile=quantile), len(scores)
    scores = [-np.inf if np.isnan(s) else s for s in scores]
    finite = [i for i, s in enumerate(scores) if np.isfinite(s)]
    if not finite:
        return
    draw = select(scores, size, config, np.random.default_rng(seed))
    count = min(math.ceil(quantile * size), size // 2)
    replaced = [slot for slot, parent in enumerate(draw.parents) if parent != slot]
    assert set(range(size)) - set(finite) <= set(replaced)
    best = sorted((scores[i] for i in finite), reverse=True)
    worst = sorted(scores)[: max(count, size - len(finite))]
    assert len(replaced) <= len(worst)
    for slot in replaced:
        assert scores[slot] <= worst[-1]
        assert scores[draw.parents[slot]] >= best[max(min(count, len(best)), 1) - 1] or not count
    assert scores[draw.elite] == best[0]
    if len(finite) == size and count:
        assert len(replaced) == count


def test_truncation_draws_from_the_best_and_breaks_ties_at_random():
    config, size = SelectionConfig(method="truncation", quantile=0.25), 8
    draw = select([5, 1, 9, 4, 2, 8, 6, 7], size, config, np.random.default_rng(0))
    assert draw.elite == 2
    assert [i for i in range(size) if draw.parents[i] != i] == [1, 4]
    assert {draw.parents[1], draw.parents[4]} <= {2, 5}
    draws = [select([0.0] * size, size, config, np.random.default_rng(seed)) for seed in range(1000)]
    replaced = np.bincount([i for draw in draws for i in range(size) if draw.parents[i] != i], minlength=size)
    assert replaced.sum() == 2000
    assert chisquare(replaced).pvalue > 1e-3


@pytest.mark.parametrize("method", ["tournament", "truncation"])
def test_nobody_but_the_failed_is_replaced_while_warming_up(method):
    config = SelectionConfig(method=method)
    for seed in range(20):
        draw = select([3.0, 9.0, np.nan, 1.0], 4, config, np.random.default_rng(seed), warming_up=True)
        assert draw.parents[:2] == (0, 1) and draw.parents[3] == 3
        assert draw.parents[2] in (0, 1, 3)
        assert draw.elite == 1
        assert unmutated_slots(draw, config, warming_up=True) == {0, 1, 3}


def finished(*returns):
    evaluation = Evaluation(fitness=float(np.mean(returns)), fitness_sem=None, episodes=len(returns), steps=1)
    return Member.model_construct(evaluation=evaluation.model_copy(update={"returns": returns}))


def test_a_member_is_better_by_standard_errors_of_the_paired_difference():
    lucky, steady, other = finished(0.0, 100.0, 50.0), finished(2.0, 102.5, 52.0), finished(90.0, 10.0, 60.0)
    members = [lucky, steady, other, finished(2.0, 102.5, 52.0), Member.model_construct(evaluation=None)]

    def better(margin, one, other, direction="maximize"):
        objective = Objective(measure="return", direction=direction)
        return is_better(members, margin, objective, np.random.default_rng(0), one, other)

    assert better(2.0, 1, 0) and better(10.0, 1, 0)  # differences of 2, 2.5 and 2
    assert not better(2.0, 0, 1)
    assert better(0.0, 2, 1)
    assert not better(0.5, 2, 1)  # 53.3 against 52.2, with errors of fifty
    assert not better(0.1, 3, 1)  # equal
    assert better(2.0, 0, 4)
    assert better(2.0, 0, 1, "minimize") and not better(2.0, 1, 0, "minimize")


def test_truncation_keeps_members_that_may_not_be_replaced_and_never_failed_ones():
    config, scores = SelectionConfig(method="truncation", quantile=0.5), [4.0, 9.0, np.nan, 8.0]
    kept = select(scores, 4, config, np.random.default_rng(0), replaces=lambda one, other: False)
    assert kept.parents[0] == 0 and kept.parents[2] in (1, 3)
    replaced = select(scores, 4, config, np.random.default_rng(0))
    assert replaced.parents[0] in (1, 3) and replaced.parents[2] == kept.parents[2]


def test_where_the_population_shrinks_the_best_go_on_and_what_is_missing_is_copied():
    config, scores = SelectionConfig(), [4.0, 9.0, np.nan, 1.0, 7.0, 8.0]
    draw = select(scores, 3, config, np.random.default_rng(0), slots=6)
    assert (draw.elite, draw.parents) == (1, (1, 4, 5))
    assert unmutated_slots(draw, config, slots=6) == {0, 1, 2}
    beside = select([*scores, 11.0], 3, config, np.random.default_rng(0), slots=6)  # the last one is archived
    assert (beside.elite, beside.parents) == (6, (1, 4, 5))
    few = select([np.nan, 9.0, np.nan, np.nan, 7.0, np.nan], 4, config, np.random.default_rng(0), slots=6)
    assert few.parents[:2] == (1, 4) and set(few.parents[2:]) <= {1, 4}
    assert unmutated_slots(few, config, slots=6) == {0, 1}
    tied = [select([0.0] * 6, 2, config, np.random.default_rng(seed), slots=6).parents for seed in range(1500)]
    assert chisquare(np.bincount(np.ravel(tied), minlength=6)).pvalue > 1e-3


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
