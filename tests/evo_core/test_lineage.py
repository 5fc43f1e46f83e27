"""Lineage analysis of runs whose true effects are known."""

from itertools import pairwise

import numpy as np
import pytest

from evo_core.lineage.health import selection_health
from evo_core.lineage.importance import hyperparameter_importance
from evo_core.lineage.tree import Lineage
from evo_core.lineage.worth import by_part, mutation_worth
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, pays_for_activation


@pytest.fixture(scope="module")
def known():
    config = make_lineage_config(32, 30)
    return config, Lineage(make_commits(config, learns_by_lr_and_gamma))


def test_a_line_leads_from_its_founder_to_its_member(known):
    _, lineage = known
    last = lineage.commits[-1]
    line = lineage.line(last.elite.uid)
    assert [member.offspring.generation for member in line] == list(range(1, 31))
    assert line[-1].uid == last.elite.uid and line[0].offspring.parent is None
    assert all(child.offspring.parent == parent.uid for parent, child in pairwise(line))
    assert lineage.founders[last.elite.uid] == line[0].uid
    gains = [lineage.gain(member).value for member in line[1:]]
    assert sum(gains) == pytest.approx(line[-1].fitness - line[0].fitness)
    assert lineage.gain(line[1]).se == pytest.approx(2**0.5) and lineage.gain(line[0]) is None
    with pytest.raises(LookupError, match=r"member 'g0099/m00': expected .*; got g0001/m00 to g0030/m31"):
        lineage.line("g0099/m00")


def test_living_members_are_the_ancestors_of_the_next_generation(known):
    _, lineage = known
    wanted = {m.uid for child in lineage.commits[-1].offspring for m in lineage.line(child.parent)}
    assert lineage.alive == wanted
    assert 30 < len(wanted) < 32 * 30 / 2


def test_lines_diverge_at_their_common_ancestor(known):
    _, lineage = known
    one, other = (member.uid for member in lineage.commits[-1].members[:2])
    ancestor = lineage.common_ancestor(one, other)
    shared = {m.uid for m in lineage.line(one)} & {m.uid for m in lineage.line(other)}
    assert ancestor is not None and max(shared, key=lambda uid: lineage[uid].offspring.generation) == ancestor.uid
    founders = [member.uid for member in lineage.commits[0].members[:2]]
    assert lineage.common_ancestor(*founders) is None


@pytest.mark.parametrize("seed", range(3))
def test_hyperparameters_with_an_effect_are_more_important_than_chance_and_than_others(seed):
    config = make_lineage_config(64, 40)
    lineage = Lineage(make_commits(config, learns_by_lr_and_gamma, seed))
    found = {i.name: i for i in hyperparameter_importance(lineage, config, np.random.default_rng(0))}
    assert set(found) == {*config.search, "activation"}
    above = {name for name, importance in found.items() if importance.share > importance.chance}
    assert {"lr", "gamma"} <= above and len(above) <= 3  # each of the others is in one run of twenty
    assert {i.name for i in sorted(found.values(), key=lambda i: -i.share)[:2]} == {"lr", "gamma"}


@pytest.mark.parametrize("rule", [learns_by_lr_and_gamma, lambda child, before, rng: before + rng.normal(0, 3)])
def test_hyperparameters_without_effect_are_rarely_above_chance(rule):
    """One in twenty is, by the definition of `chance`; also if it is inherited together with one with an effect."""
    config = make_lineage_config(16, 20)
    above = compared = 0
    for seed in range(20):
        lineage = Lineage(make_commits(config, rule, seed))
        importance = hyperparameter_importance(lineage, config, np.random.default_rng(0))
        null = [i for i in importance if i.name not in ("lr", "gamma")]
        above, compared = above + sum(i.share > i.chance for i in null), compared + len(null)
    assert compared == 80 and above <= 10  # P(Binomial(80, 0.05) > 10) = 0.001


@pytest.mark.parametrize(("size", "generations", "runs"), [(6, 10, 45), (24, 15, 25)])
def test_the_estimated_effect_of_mutations_is_the_true_one(size, generations, runs):
    """A 95 % interval misses one time in twenty, at every size."""
    config = make_lineage_config(size, generations)
    held, shown = 0, 0
    for seed in range(runs):
        lineage = Lineage(make_commits(config, pays_for_activation, seed))
        worths = {worth.name: worth for worth in mutation_worth(lineage)}
        assert set(worths) <= {"activation", "architecture", "parameters", "rl_hp"}
        for kind, worth in worths.items():
            if worth.ci95 is not None:
                low, high = worth.ci95
                held, shown = held + (low <= (5 if kind == "activation" else 0) <= high), shown + 1
    assert shown > 80 and held / shown > 0.885  # P(fewer | 95 % of 80 to 100) < 0.01
    compared = [m for m in lineage.members.values() if m.offspring.mutation.kind == "rl_hp" and m.offspring.parent]
    assert worths["rl_hp"].count == sum(
        any(s.offspring.mutation.kind == "none" for s in lineage.children[m.offspring.parent]) for m in compared
    )


def test_failed_members_are_counted_and_not_compared():
    config = make_lineage_config(12, 8)

    def diverges(child, before, rng):
        return None if child.mutation.what == "lr" and child.generation > 1 else before + rng.normal()

    lineage = Lineage(make_commits(config, diverges))
    worths = {worth.name: worth for worth in mutation_worth(lineage, by_part)}
    failed = [m for m in lineage.members.values() if m.failure]
    assert failed and (worths["rl_hp lr"].failed, worths["rl_hp lr"].count) == (len(failed), 0)
    assert worths["rl_hp lr"].mean is None and worths["rl_hp lr"].ci95 is None
    assert all(lineage.gain(member) is None for member in failed)


def test_health_counts_founders_and_parents():
    config = make_lineage_config(16, 12)
    lineage = Lineage(make_commits(config, learns_by_lr_and_gamma))
    health = selection_health(lineage, config)
    assert [h.generation for h in health] == list(range(1, 13))
    assert health[0].founders == 16 and health[0].effective_parents is None and health[0].heritability is None
    founders = [h.founders for h in health]
    assert founders == sorted(founders, reverse=True) and founders[-1] < 4
    assert all(1 <= h.effective_parents <= 16 for h in health[1:])
    assert np.mean([h.heritability for h in health[1:]]) > 0.2
    chance = selection_health(Lineage(make_commits(config, lambda child, before, rng: rng.normal())), config)
    assert abs(np.mean([h.heritability for h in chance[1:]])) < 0.2
    assert 0.15 < health[0].diversity < 0.4


def test_a_mutation_is_compared_with_siblings_because_training_lies_between_it_and_its_parent():
    def rule(offspring, parent, rng):
        return parent + 10.0 + (5.0 if offspring.mutation.kind == "rl_hp" else 0.0)

    lineage = Lineage(make_commits(make_lineage_config(16, 6), rule))
    mutants = [member for member in lineage.members.values() if member.offspring.parent]
    compared = [(lineage.effect(m), lineage.gain(m), m) for m in mutants if lineage.effect(m) is not None]
    for effect, gain, member in compared:
        worth = 5.0 if member.offspring.mutation.kind == "rl_hp" else 0.0
        assert (effect.value, gain.value) == (pytest.approx(worth), pytest.approx(10.0 + worth))
        control = [
            s for s in lineage.children[member.offspring.parent] if s.fitness and s.offspring.mutation.kind == "none"
        ]
        assert effect.se == pytest.approx((1 + 1 / len(control)) ** 0.5)
    assert {member.offspring.mutation.kind for *_, member in compared} >= {"rl_hp", "architecture"}
    assert all(lineage.effect(m) is None for m in mutants if m.offspring.mutation.kind == "none")
