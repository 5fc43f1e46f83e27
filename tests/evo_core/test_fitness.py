"""Fitness other than the mean return: measures, aggregation, direction, and what is refused before a run."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import trim_mean

from evo_core.config.objectives import Objective
from evo_core.config.parsing import ConfigError
from evo_core.evaluation.aggregation import (
    aggregate,
    difference_and_error,
    interquartile_mean,
    interval,
    lower_mean,
    standard_error,
    wilson_interval,
)
from evo_core.evaluation.confirmation import Chunk, confirmation
from evo_core.evaluation.episodes import evaluate, play_episodes
from evo_core.evaluation.preflight import preflight
from evo_core.local import train_on_policy
from evo_core.records.chain import BlobRef, EliteRef, config_hash
from evo_core.records.failures import GenerationFailed, MemberFailure
from tests.conftest import make_config
from tests.evo_core.test_learn import make_agent

SEEDS = list(range(30))
PACKAGES = ("tests",)
LENGTH = {"measure": "length", "direction": "minimize"}
SMALL = {"evaluation.episodes": 6, "evaluation.confirm_episodes": 8}


def lengths(seeds=SEEDS):
    env, found = gym.make("Probe/Reports-v0").unwrapped, []
    for seed in seeds:
        env.reset(seed=seed)
        found.append(env.steps)
    return np.array(found, np.float64)


def configured(**evaluation):
    return make_config("Probe/Reports-v0", **{f"evaluation.{name}": value for name, value in evaluation.items()})


def played(**evaluation):
    config = configured(**evaluation)
    preflight(config, PACKAGES)
    return config, play_episodes(make_agent(config), config, SEEDS)


STEPS = lengths()
DISCOUNTED = np.array([sum(0.99**t * (-1) ** t for t in range(int(n))) for n in STEPS])
MEASURES = {
    "return": ({}, STEPS % 2),
    "length": ({"fitness": "length"}, STEPS),
    "success": ({"fitness": "success"}, STEPS >= 4),
    "last": ({"fitness": {"info": "success"}}, STEPS >= 4),
    "sum": ({"fitness": "info:fuel", "reduction": "sum"}, np.where(STEPS < 3, 1, np.where(STEPS < 5, 4, 9))),
    "mean": ({"fitness": "info:fuel", "reduction": "mean"}, np.where(STEPS < 3, 1, np.where(STEPS < 5, 2, 3))),
    "max": ({"fitness": "info:fuel", "reduction": "max"}, np.where(STEPS < 3, 1, np.where(STEPS < 5, 3, 5))),
    "function": ({"fitness": "tests.own_fitness:everything"}, 100 * STEPS + 10 * (STEPS >= 4) + STEPS % 2),
    "discounted": ({"fitness": "tests.own_fitness:discounted"}, DISCOUNTED),
}


@pytest.mark.parametrize("name", MEASURES)
def test_episodes_are_worth_what_the_configuration_says(name):
    assert set(STEPS) == {2, 3, 4, 5}
    overrides, expected = MEASURES[name]
    config, found = played(**overrides)
    assert found.values == pytest.approx(expected.astype(np.float64))
    assert found.returns == pytest.approx(STEPS % 2)
    result = evaluate(make_agent(config), config, SEEDS)
    assert result.fitness == pytest.approx(expected.mean())
    assert result.mean_return == pytest.approx((STEPS % 2).mean())
    assert (result.values is None) == (name == "return")
    assert result.episode_values == pytest.approx(expected.astype(np.float64))


@pytest.mark.parametrize("most", [4, 11])
def test_values_do_not_depend_on_how_many_environments_are_open(most):
    config, whole = played(fitness="info:fuel", reduction="sum")
    limited = play_episodes(make_agent(config), config.with_instances(most), SEEDS)
    assert limited.values.tolist() == whole.values.tolist()


def test_success_may_be_called_is_success_and_be_a_number():
    config = make_config("Probe/Reports-v0", **{"evaluation.fitness": "success", "env.kwargs": {"key": "is_success"}})
    preflight(config)
    assert play_episodes(make_agent(config), config, SEEDS).values.tolist() == (STEPS >= 4).astype(float).tolist()


def test_an_episode_that_is_cut_did_not_terminate_and_is_measured_where_it_was_cut():
    cut = {"evaluation.max_steps": 3, "evaluation.fitness": {"info": "fuel"}}
    config = make_config("Probe/Reports-v0", **cut)
    long = [seed for seed, steps in zip(SEEDS, STEPS, strict=True) if steps > 3]
    assert play_episodes(make_agent(config), config, long).values.tolist() == [3.0] * len(long)
    config = make_config(
        "Probe/Reports-v0", **{"evaluation.max_steps": 3, "evaluation.fitness": "tests.own_fitness:everything"}
    )
    with pytest.raises(MemberFailure, match=r"fitness_error .* AssertionError"):
        play_episodes(make_agent(config), config, long)


REFUSED = {
    "no such key": ({"fitness": "info:energy"}, r"evaluation.fitness info:energy: expected energy in the info"),
    "not at the end": ({"fitness": {"info": "fuel"}}, r"got the keys success; report it there, or take the sum"),
    "in no step": ({"fitness": "info:energy", "reduction": "max"}, r"expected energy in the info of some step"),
    "not a number": ({"fitness": "tests.own_fitness:nothing"}, r"nothing: expected a finite number, got None"),
    "an exception": ({"fitness": "tests.own_fitness:broken"}, r"broken: ZeroDivisionError: division by zero"),
    "no function": (
        {"fitness": "tests.own_fitness:brokn"},
        r"no function brokn; did you mean tests.own_fitness:broken",
    ),
    "not callable": ({"fitness": "tests.own_fitness:NOT_A_FUNCTION"}, r"has no function NOT_A_FUNCTION"),
    "a module that is missing": ({"fitness": "tests.no_fitness:f"}, r"evaluation.fitness .*tests.no_fitness"),
    "a package not allowed": ({"fitness": "os:getpid"}, r"package os is not allowed .*EVOLVE_ENV_PACKAGES=os"),
    "a word": ({"fitness": "rewards"}, r"evaluation.fitness: expected return, success, length, info:KEY or package"),
    "of a network": ({"fitness": "parameters"}, r"evaluation.fitness: expected return"),
    "a reduction of nothing": ({"reduction": "sum"}, r"reduction: sum has an effect only with info:KEY"),
    "a share of nothing": ({"cvar": 0.5}, r"cvar: 0.5 has an effect only with aggregation: cvar"),
    "a large share": ({"aggregation": {"cvar": 1.5}}, r"evaluation.cvar: .*1, got 1.5"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_measured_is_refused_before_a_run(why):
    overrides, said = REFUSED[why]
    with pytest.raises(ConfigError, match=said):
        preflight(configured(**overrides), PACKAGES)


WRONG_OBJECTIVES = {
    "the fitness": (
        {"fitness": "info:energy", "objectives": [{"measure": "parameters", "direction": "minimize"}]},
        r"^evaluation.fitness info:energy: expected energy",
    ),
    "an objective": (
        {"objectives": [LENGTH, {"measure": "tests.own_fitness:broken", "direction": "minimize"}]},
        r"^evaluation.objectives.1.measure tests.own_fitness:broken: ZeroDivisionError",
    ),
    "no function": (
        {"objectives": [{"measure": "tests.own_fitness:brokn", "direction": "minimize"}]},
        r"^evaluation.objectives.0.measure tests.own_fitness:brokn: .* has no function brokn",
    ),
    "a package": (
        {"objectives": [LENGTH, {"measure": "os:getpid", "direction": "minimize"}]},
        r"^evaluation.objectives.1.measure 'os:getpid': package os is not allowed",
    ),
}


@pytest.mark.parametrize("why", WRONG_OBJECTIVES)
def test_the_field_of_what_cannot_be_measured_is_named(why):
    overrides, said = WRONG_OBJECTIVES[why]
    with pytest.raises(ConfigError, match=said):
        preflight(configured(**overrides), PACKAGES)


def test_success_that_is_not_reported_is_refused_with_the_keys_that_are():
    config = make_config("CartPole-v1", **{"evaluation.fitness": "success"})
    with pytest.raises(ConfigError, match=r"expected success or is_success in the info .* got an empty one"):
        preflight(config)


def test_members_that_cannot_be_measured_fail_and_say_why():
    config = make_config("Probe/Reports-v0", **{"evaluation.fitness": "tests.own_fitness:broken"})
    with pytest.raises(MemberFailure, match=r"fitness_error at step .*: Probe/Reports-v0: .*:broken: Zero"):
        evaluate(make_agent(config), config, SEEDS[:3])
    config = make_config("Probe/Reports-v0", **{"evaluation.fitness": "info:later"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evo_core.evaluation.preflight.STEPS", 1)  # the first episodes are longer than what is tried
        with pytest.raises(GenerationFailed, match=r"fitness_error at step .*expected later in the info"):
            train_on_policy(config)


def objective(aggregation="mean", direction="maximize", **more):
    return Objective(measure="return", direction=direction, aggregation=aggregation, **more)


def test_aggregations_are_the_textbook_ones():
    values = np.array([8.0, 1, 2, 3, 4, 5, 6, 100])
    assert aggregate(values, objective()) == 16.125
    assert aggregate(values, objective("median")) == 4.5
    assert aggregate(values, objective("iqm")) == 4.5
    assert aggregate(values, objective("cvar")) == 1.5
    assert aggregate(values, objective("cvar", "minimize")) == 54.0
    assert aggregate(values, objective("cvar", cvar=1.0)) == pytest.approx(values.mean())
    assert aggregate(values[:7], objective("iqm")) == 4.0
    assert aggregate(values[[0, 7, 0]], objective("iqm")) == pytest.approx(116 / 3)  # too few to leave any out
    # three eighths and a half: the fourth value counts half
    assert lower_mean(values, 3.5 / 8) == pytest.approx((1 + 2 + 3 + 4 / 2) / 3.5)
    assert aggregate(np.array([7.0]), objective("cvar")) == 7.0


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 20)), elements=st.floats(-1e3, 1e3)))
def test_the_interquartile_mean_is_scipys_trimmed_one(values):
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25, axis=-1), abs=1e-9)
    assert interquartile_mean(values, axis=0) == pytest.approx(trim_mean(values, 0.25, axis=0), abs=1e-9)


def test_fitness_is_aggregated_without_scipy_whose_version_no_run_records(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    for aggregation in ("mean", "median", "iqm", "cvar"):
        assert aggregate(np.arange(8.0), objective(aggregation)) >= 0.5
        assert standard_error(np.arange(8.0), objective(aggregation), np.random.default_rng(0)) > 0


VALUES = arrays.arrays(np.float64, st.integers(2, 12), elements=st.floats(-1e3, 1e3))


@given(VALUES, st.floats(0.05, 1.0))
def test_the_worst_share_is_worse_than_the_mean_and_falls_with_the_share(values, share):
    worst = lower_mean(values, share)
    assert values.min() - 1e-9 <= worst <= values.mean() + 1e-9
    assert lower_mean(values, share / 2) <= worst + 1e-9
    mirrored = aggregate(-values, objective("cvar", "minimize", cvar=share))
    assert mirrored == pytest.approx(-worst)


@pytest.mark.parametrize("aggregation", ["median", "iqm", "cvar"])
def test_errors_of_other_aggregations_are_the_spread_of_their_estimates(aggregation):
    rng, about = np.random.default_rng(1), objective(aggregation)
    draws = rng.normal(size=(400, 60))
    true = np.std([aggregate(row, about) for row in draws])
    errors = [standard_error(row, about, np.random.default_rng(2)) for row in draws[:40]]
    assert np.mean(errors) == pytest.approx(true, rel=0.2)
    assert standard_error(draws[0], about, np.random.default_rng(2)) == errors[0]
    assert standard_error(draws[0, :1], about, rng) is None
    truth = aggregate(rng.normal(size=200_000), about)
    inside = [low <= truth <= high for low, high in (interval(row, about, rng) for row in draws[:25])]
    assert sum(inside) >= 20


def test_a_success_rate_has_wilsons_interval_whose_width_is_never_zero():
    success = Objective(measure="success", direction="maximize")
    low, high = interval(np.ones(20), success, np.random.default_rng(0))
    assert (low, high) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert wilson_interval(10, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert interval(np.array([0.5, 1, 1]), success, np.random.default_rng(0))[0] < 0.5  # not a rate: Student's


def test_the_paired_difference_of_medians_forgives_common_luck():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 50, 40)
    worse, better = luck, luck + 1 + rng.normal(0, 0.1, 40)
    difference, error = difference_and_error(better, worse, objective("median"), rng)
    assert difference > 0 and error < 10  # without pairing it would be 14
    back, _ = difference_and_error(better, worse, objective("median", "minimize"), rng)
    assert back == -difference


BLOB = BlobRef(sha256="0" * 64, size=1)
ELITE = EliteRef(uid="g0001/m00", generation=1, fitness=0, fitness_sem=None, episodes=1, blob=BLOB)


def test_a_confirmation_names_what_it_measured_and_keeps_the_mean_return():
    chunks = [Chunk([1.0, 0.0], 7, [5.0, 7.0]), Chunk([1.0], 3, [9.0])]
    plain = confirmation(make_config(), ELITE, chunks)
    assert (plain.mean, plain.measured, plain.mean_return) == (pytest.approx(2 / 3), None, None)
    record = confirmation(make_config(**{"evaluation.fitness": "success"}), ELITE, chunks)
    assert (record.mean, record.measured, record.mean_return) == (pytest.approx(2 / 3), "mean success", 7.0)
    assert record.ci95 == pytest.approx(wilson_interval(2, 3))
    median = confirmation(make_config(**{"evaluation.aggregation": "median"}), ELITE, chunks)
    assert (median.mean, median.measured) == (1.0, "median return")
    assert median == confirmation(make_config(**{"evaluation.aggregation": "median"}), ELITE, chunks)


def test_the_defaults_change_no_hash_and_everything_else_does():
    plain = make_config()
    assert config_hash(make_config(**{"evaluation.fitness": "return", "evaluation.direction": "maximize"})) == (
        config_hash(plain)
    )
    assert plain.evaluation.model_dump().keys() == {"episodes", "max_steps", "deterministic", "confirm_episodes"}
    others = [
        {"fitness": "length"},
        {"fitness": {"info": "x"}},
        {"fitness": "info:x", "reduction": "sum"},
        {"direction": "minimize"},
        {"aggregation": "median"},
        {"aggregation": {"cvar": 0.25}},
        {"aggregation": {"cvar": 0.5}},
    ]
    hashes = [config_hash(make_config(**{f"evaluation.{name}": v for name, v in o.items()})) for o in others]
    assert len({config_hash(plain), *hashes}) == 1 + len(others)


def test_a_run_that_minimizes_selects_ends_and_delivers_by_the_least():
    least = {"evaluation.fitness": "length", "evaluation.direction": "minimize", "training.max_steps": 1536}
    config = make_config(**least, **SMALL)
    result = train_on_policy(config)
    for commit in result.commits[1:]:
        fitness = [member.fitness for member in commit.members]
        assert commit.elite.fitness == min(fitness)
        assert list(commit.draw.scores) == [-value for value in fitness]
        assert [member.evaluation.values for member in commit.members] == [
            member.evaluation.returns for member in commit.members
        ]  # as CartPole pays
    assert result.commits[-1].best.fitness == min(commit.elite.fitness for commit in result.commits[1:])
    assert result.confirmed.measured == "mean length"
    reached = train_on_policy(make_config(**least, **SMALL, **{"training.target": 400}))
    assert (reached.status, len(reached.commits)) == ("target_reached", 2)
    assert train_on_policy(make_config(**least, **SMALL, **{"training.target": 3})).status == "budget_spent"


def test_the_same_seed_gives_the_same_chain_whatever_the_fitness():
    overrides = {"evaluation.fitness": "tests.own_fitness:everything", "evaluation.aggregation": "iqm", **SMALL}
    config = make_config("Probe/Reports-v0", **overrides, **{"selection.method": "truncation", "selection.margin": 0.5})
    first, second = (train_on_policy(config, packages=PACKAGES) for _ in range(2))
    assert first.head == second.head
    assert first.confirmed == second.confirmed
    assert first.commits[1].members[0].evaluation.fitness_sem > 0
