"""Several objectives: NSGA-II's order against its definition, the front, the knee, and runs that trade off."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_core.config.parsing import ConfigError, parse_config
from evo_core.evaluation.network_measures import count_flops, count_parameters
from evo_core.evolution.fronts import LARGEST_FRONT, choose_from_front, extend_front, member_objectives
from evo_core.evolution.nsga2 import (
    choose_knee,
    crowded_scores,
    crowding_distances,
    dominates,
    front_ranks,
    thin_front,
)
from evo_core.local import train_on_policy
from evo_core.records.chain import BlobRef, EliteRef, ObjectiveValue, config_hash
from tests.conftest import make_config
from tests.evo_core.test_learn import make_agent

SIZE = {"measure": "parameters", "direction": "minimize"}
LENGTH = {"measure": "length", "direction": "minimize"}
BASE = {"env": {"id": "CartPole-v1"}, "training": {"max_steps": 100_000}}
GROWING = {
    "population.size": 5,
    "training.evo_steps": 128,
    "training.max_steps": 5 * 128 * 3,
    "evaluation.max_steps": 40,
    "mutation": {"no_mutation": 0.2, "architecture": 0.8, "rl_hp": 0.0, "parameters": 0.0},
    "evaluation.objectives": [SIZE],
}


def ranks_by_definition(table):
    """Peel one front after the other, comparing every pair."""
    ranks, left, rank = {}, [i for i, row in enumerate(table) if not np.isnan(row).any()], 0
    while left:
        front = [i for i in left if not any(dominates(table[j], table[i]) for j in left)]
        ranks |= dict.fromkeys(front, rank)
        left, rank = [i for i in left if i not in front], rank + 1
    return [ranks.get(i, -1) for i in range(len(table))]


VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan])
TABLES = (
    st.integers(1, 3)
    .flatmap(lambda m: st.lists(st.lists(VALUES, min_size=m, max_size=m), min_size=1, max_size=12))
    .map(lambda rows: np.array(rows, np.float64))
)


@given(TABLES)
def test_fronts_are_those_of_the_definition(table):
    assert front_ranks(table).tolist() == ranks_by_definition(table)


@given(TABLES)
def test_scores_put_earlier_fronts_first_and_failed_members_nowhere(table):
    ranks, scores = front_ranks(table), crowded_scores(table)
    assert (np.isneginf(scores) == (ranks < 0)).all()
    for i in np.flatnonzero(ranks >= 0):
        for j in np.flatnonzero(ranks > ranks[i]):
            assert scores[i] > scores[j]
    order = np.random.default_rng(0).permutation(len(table))
    firsts = {tuple(row) for row in table[~np.isnan(table).any(axis=1)].tolist()}
    if len(firsts) == len(table):  # copies share a place, of which the first has the distance
        assert crowded_scores(table[order]).tolist() == scores[order].tolist()


def test_crowding_is_the_sum_of_the_sides_of_the_cuboid():
    front = np.array([[0.0, 10.0], [1.0, 8.0], [4.0, 2.0], [10.0, 0.0]])
    distances = crowding_distances(front)
    assert np.isinf(distances[[0, 3]]).all()
    assert distances[1] == pytest.approx(4 / 10 + 8 / 10) and distances[2] == pytest.approx(9 / 10 + 8 / 10)
    assert crowding_distances(np.array([[1.0, 1.0], [1.0, 1.0]])).tolist() == [np.inf, 0.0]
    assert crowding_distances(front[::-1])[::-1].tolist() == distances.tolist()


def test_less_crowded_members_of_a_front_win_and_the_most_crowded_leave_it():
    front = np.array([[0.0, 10.0], [0.1, 9.9], [4.0, 5.0], [10.0, 0.0]])
    scores = crowded_scores(front)
    assert scores[0] == scores[3] > scores[2] > scores[1]
    assert thin_front(front, 3) == [0, 2, 3]
    assert thin_front(front, 9) == [0, 1, 2, 3]


def test_the_knee_is_the_best_compromise():
    assert choose_knee(np.array([[0.0, 100.0], [0.5, 95.0], [0.9, 90.0], [1.0, 0.0]])) == 2
    assert choose_knee(np.array([[1.0, 0.0], [3.0, -5.0]])) == 1  # two are both extremes: the fitter one
    assert choose_knee(np.array([[2.0, 5.0]])) == 0
    assert choose_knee(np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]])) == 1


def elite(number, fitness, size):
    values = (ObjectiveValue(name="parameters", value=size),)
    blob = BlobRef(sha256=f"{number:064x}", size=1)
    uid = f"g0001/m{number:02d}"
    return EliteRef(uid=uid, generation=1, fitness=fitness, fitness_sem=None, episodes=1, blob=blob, objectives=values)


def test_a_front_grows_by_what_nothing_dominates_and_loses_what_is_dominated():
    evaluation = make_config(**{"evaluation.objectives": [SIZE]}).evaluation
    front = extend_front([], [elite(0, 10, 100), elite(1, 5, 200), elite(2, 5, 50)], evaluation)
    assert [one.uid for one in front] == ["g0001/m00", "g0001/m02"]
    again = extend_front(front, [elite(3, 10, 100), elite(4, 11, 100), elite(5, 4, 60)], evaluation)
    assert [one.uid for one in again] == ["g0001/m02", "g0001/m04"]
    many = extend_front([], [elite(n, n, n) for n in range(80)], evaluation)
    assert len(many) == LARGEST_FRONT and {many[0].fitness, many[-1].fitness} == {0, 79}
    assert choose_from_front(many, evaluation, "fitness").fitness == 79
    assert choose_from_front(many, evaluation, "parameters").fitness == 0


def test_of_equal_members_of_one_generation_the_front_has_the_earliest():
    evaluation = make_config(**{"evaluation.objectives": [SIZE]}).evaluation
    front = extend_front([], [elite(0, 10, 100), elite(1, 10, 100), elite(2, 5, 50), elite(3, 5, 50)], evaluation)
    assert [one.uid for one in front] == ["g0001/m00", "g0001/m02"]


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_the_best_fitness_so_far_is_that_of_the_front_not_of_the_chosen_member(direction, sign):
    evaluation = make_config(**{"evaluation.objectives": [SIZE], "evaluation.direction": direction}).evaluation
    commit = train_on_policy(make_config(**{"training.max_steps": 512, "population.size": 2})).commits[1]
    generations = [[elite(0, 3, 60)], [elite(1, 10, 80)], [elite(2, 9, 10), elite(3, 1, 5)]]
    front, chosen, found = [], [], []
    for members in generations:
        measured = [one.model_copy(update={"fitness": sign * one.fitness}) for one in members]
        front = extend_front(front, measured, evaluation)
        knee = choose_from_front(front, evaluation, "knee")
        head = commit.model_copy(update={"front": tuple(front), "best": knee})
        chosen.append(sign * knee.fitness)
        found.append(sign * head.fittest(evaluation.objective.sign).fitness)
    assert (chosen, found) == ([3, 10, 9], [3, 10, 10])
    assert commit.fittest(sign) == commit.best  # without further objectives


def test_the_size_and_cost_of_a_policy_are_those_of_its_layers():
    agent = make_agent(make_config())  # 4 → 16 → 16 (latent) → 16 → 2
    weights = 4 * 16 + 16 * 16 + 16 * 16 + 16 * 2
    assert count_parameters(agent) == weights + 16 + 16 + 16 + 2
    assert count_flops(agent) == 2 * weights
    assert count_parameters(make_agent(make_config(**{"network.share_encoder": False}))) == weights + 50
    recurrent = make_agent(make_config(**{"algorithm.recurrent": True}))
    assert count_flops(recurrent) > 2 * 64 * 64 * 4  # of the gates


REFUSED = {
    "twice": ({"objectives": [LENGTH, LENGTH]}, "objectives: mean length is there twice"),
    "the fitness again": ({"fitness": "length", "objectives": [LENGTH]}, "mean length is there twice"),
    "no direction": ({"objectives": [{"measure": "length"}]}, r"evaluation.objectives.0.direction: required"),
    "an unknown measure": (
        {"objectives": [{**LENGTH, "measure": "flop"}]},
        r"objectives.0.measure: expected return, success, length, parameters, flops, info:KEY",
    ),
    "an unknown rule": (
        {"objectives": [SIZE], "deliver": "length"},
        "expected knee, fitness, parameters, got",
    ),
    "a rule without a front": ({"deliver": "fitness"}, "deliver: expected objectives, among which it chooses"),
    "a number in two directions": (
        {"objectives": [SIZE, {**SIZE, "direction": "maximize", "aggregation": "median"}]},
        "parameters is there twice",
    ),
    "two of one name": (
        {"objectives": [{**LENGTH, "measure": "info:a (sum)"}, {**LENGTH, "measure": "info:a", "reduction": "sum"}]},
        r"info:a \(sum\) and info:a are both called 'mean a \(sum\)'; name one of them as package.module:function",
    ),
    "no list": (
        {"objectives": SIZE},
        r"evaluation.objectives: expected a list, .* `- \{measure: …\}` for each objective",
    ),
    "too many": ({"objectives": [{**LENGTH, "measure": f"info:{n}"} for n in range(5)]}, "at most 4 items"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_objectives_that_make_no_sense_are_refused(why):
    overrides, said = REFUSED[why]
    with pytest.raises(ConfigError, match=said):
        make_config(**{f"evaluation.{name}": value for name, value in overrides.items()})


def test_objectives_of_one_measure_and_those_called_as_a_rule_are_delivered_by_their_titles():
    worst, fuel = {**LENGTH, "aggregation": {"cvar": 0.5}}, {"measure": "info:fuel", "direction": "maximize"}
    evaluation = make_config(**{"evaluation.objectives": [LENGTH, worst, fuel]}).evaluation
    assert evaluation.delivery_rules == ("knee", "fitness", "mean length", "mean length of the worst 50 %", "info:fuel")
    measured = {0: (1, 5, 0), 1: (2, 3, 0), 2: (3, 4, 0)}
    front = [
        elite(n, n, 0).model_copy(update={"objectives": tuple(ObjectiveValue(name="", value=v) for v in values)})
        for n, values in measured.items()
    ]
    chosen = {rule: choose_from_front(front, evaluation, rule).fitness for rule in evaluation.delivery_rules[1:4]}
    assert chosen == {"fitness": 2, "mean length": 0, "mean length of the worst 50 %": 1}
    plugins = [{"measure": name, "direction": "maximize"} for name in ("knee", "fitness")]
    config = parse_config({**BASE, "evaluation": {"objectives": plugins, "deliver": "mean knee"}}, installed=False)
    assert config.evaluation.delivery_rules == ("knee", "fitness", "mean knee", "mean fitness")


def test_a_key_of_the_info_may_be_called_as_a_built_in_measure():
    evaluation = make_config(
        **{"evaluation.objectives": [{"measure": "info:return", "direction": "minimize"}]}
    ).evaluation
    assert [one.title for one in evaluation.all_objectives] == ["mean return", "mean info:return"]


def test_a_margin_of_fitness_alone_is_refused_with_objectives():
    with pytest.raises(ConfigError, match=r"selection.margin: it compares two members by fitness alone"):
        make_config(**{"evaluation.objectives": [SIZE], "selection.method": "truncation", "selection.margin": 1.0})


@pytest.fixture(scope="module")
def grown():
    return train_on_policy(make_config(**GROWING))


def test_a_run_keeps_the_front_and_delivers_its_knee(grown):
    evaluation = make_config(**GROWING).evaluation
    seen = []
    for commit in grown.commits[1:]:
        table = member_objectives(commit.members, evaluation, 1)
        assert table[:, 1].tolist() == [-member.evaluation.objectives[0].value for member in commit.members]
        assert front_ranks(table)[commit.draw.elite] == 0
        assert commit.draw.scores[commit.draw.elite] == 1 == max(commit.draw.scores)
        seen += [(member.fitness, -member.evaluation.objectives[0].value) for member in commit.members]
        best = {row for row, rank in zip(seen, front_ranks(np.array(seen)), strict=True) if rank == 0}
        assert {(one.fitness, -one.objectives[0].value) for one in commit.front} == best
    last = grown.commits[-1]
    assert grown.elite == last.best == choose_from_front(last.front, evaluation, "knee")
    assert grown.confirmed.uid == grown.elite.uid and grown.confirmed.objectives == grown.elite.objectives
    assert count_parameters(grown.agent()) == grown.elite.objectives[0].value
    assert len({one.objectives[0].value for one in last.front}) == len(last.front) > 1


def test_the_same_seed_gives_the_same_front_and_another_rule_another_elite(grown):
    config = make_config(**GROWING)
    assert train_on_policy(config).head == grown.head
    small = train_on_policy(make_config(**GROWING, **{"evaluation.deliver": "parameters"}))
    assert small.elite.objectives[0].value == min(
        member.evaluation.objectives[0].value for commit in small.commits for member in commit.members
    )
    fit = train_on_policy(make_config(**GROWING, **{"evaluation.deliver": "fitness"}))
    assert fit.elite.fitness == max(member.fitness for commit in fit.commits for member in commit.members)


def test_objectives_are_averaged_over_a_line_and_kept_through_the_archive():
    config = make_config(
        **{**GROWING, "evaluation.objectives": [SIZE, LENGTH]},
        **{"selection.fitness_window": 2, "selection.archive": 2},
    )
    commits = train_on_policy(config).commits
    members = commits[2].members
    table = member_objectives(members, config.evaluation, 2)
    for member, row in zip(members, table, strict=True):
        assert len(member.offspring.ancestor_objectives) == 1
        (before,) = member.offspring.ancestor_objectives
        now = [one.value for one in member.evaluation.objectives]
        assert row.tolist() == pytest.approx(
            [np.mean([member.offspring.ancestor_fitness[0], member.fitness]), *-np.mean([before, now], axis=0)]
        )
    archived = [member.uid for member in members if member.offspring.archived]
    assert archived and not {one.uid for one in commits[-1].front} & set(archived)


def test_a_target_is_one_of_fitness_that_the_elite_reaches():
    reached = train_on_policy(make_config(**GROWING, **{"training.target": 5, "evaluation.deliver": "fitness"}))
    assert (reached.status, reached.elite) == ("target_reached", reached.commits[1].elite)


def test_objectives_change_the_hash_and_none_does_not():
    assert config_hash(make_config(**{"evaluation.objectives": []})) == config_hash(make_config())
    hashes = {config_hash(make_config(**{"evaluation.objectives": list(found)})) for found in ([], [SIZE], [LENGTH])}
    assert len(hashes) == 3
