import numpy as np
import pytest

from evo_core.config.evolution_sections import PopulationConfig
from evo_core.config.parsing import ConfigError
from evo_core.evaluation.run_end import is_spent
from evo_core.evolution.adaptive_size import choose_lines, improves, progress
from evo_core.evolution.mutation import NONE
from evo_core.local import train_on_policy
from evo_core.records.chain import Evaluation, Member, Training, Update
from tests.conftest import make_config
from tests.lineages import make_commits, make_lineage_config

POPULATION = PopulationConfig(size=4, sizing="adaptive")
ADAPTIVE = {"population.sizing": "adaptive"}


@pytest.fixture(scope="module")
def offspring():
    return make_commits(make_lineage_config(4, 1), lambda child, before, rng: 0.0)[0].offspring[0]


@pytest.fixture
def make_member(offspring):
    def make(returns, before=(), fitness=None, error=1.0, episodes=10):
        """A member whose 10 training episodes return `returns` each, after ancestors that returned `before`."""
        update = Update(
            steps=1, episodes=10, episode_return=returns, episode_length=1, policy_loss=0, value_loss=0, entropy=0,
            approx_kl=0, clip_fraction=0, explained_variance=0, grad_norm=0, epochs=1,
        )  # fmt: skip
        silent = update.model_copy(update={"episodes": 0, "episode_return": None})
        curve = (update, silent) if returns is not None else (silent,)
        evaluation = Evaluation(
            fitness=returns if fitness is None else fitness, fitness_sem=error, episodes=episodes, steps=1
        )
        return Member(
            offspring=offspring.model_copy(update={"ancestor_progress": before}),
            training=Training(uid=offspring.uid, steps=1, curve=curve),
            evaluation=evaluation,
        )

    return make


def choose(*members, size=4, scores=None):
    scores = [member.fitness for member in members] if scores is None else scores
    population = POPULATION.model_copy(update={"size": size})
    return choose_lines(members, scores, population, np.random.default_rng(1)).parents


def test_a_line_goes_on_alone_while_it_is_young_or_improves(make_member):
    assert choose(make_member(5.0)) == (0,)
    assert choose(make_member(5.0, (5.0,))) == (0,)
    assert choose(make_member(9.0, (5.0, 9.0))) == (0,)


def test_lines_double_when_all_have_stalled_up_to_the_size(make_member):
    stalled = make_member(5.0, (5.0, 9.0))
    assert choose(stalled) == (0, None)
    assert choose(stalled, stalled.model_copy(), scores=[1, 2]) == (1, None, 1, None)
    assert choose(stalled, stalled, stalled, stalled, scores=[1, 4, 2, 3]) == (1, None, 1, None)
    assert choose(stalled, stalled, scores=[1, 2], size=3) == (1, None, 1)


def test_the_best_goes_on_beside_the_best_that_improves(make_member):
    best, slow, fast = make_member(9.0, (9.0, 9.0)), make_member(3.0, (1.0, 1.0)), make_member(4.0, (1.0, 1.0))
    young = make_member(2.0)
    assert choose(slow, best, fast, young) == (1, 2)
    assert choose(slow, fast, young) == (1,)  # one line may be both


def test_new_lines_stay_until_they_can_be_judged(make_member):
    best, young, old = make_member(9.0, (9.0, 9.0)), make_member(2.0), make_member(3.0, (3.0, 3.0))
    assert choose(young, best, old) == (1, 0)


def test_a_gain_must_exceed_one_standard_error_of_the_difference(make_member):
    assert not improves(make_member(6.4, (5.0,)), 1)
    assert improves(make_member(6.42, (5.0,)), 1)  # sqrt(2) times 1.0
    assert improves(make_member(5.8, (5.0,), error=1.0, episodes=2), 1)  # there were five times as many in training
    assert not improves(make_member(5.6, (5.0,), error=1.0, episodes=2), 1)


def test_evaluation_takes_the_place_of_training_where_no_episode_ended(make_member):
    assert progress(make_member(None, fitness=3.0, error=0.5)) == (3.0, 0.5)
    assert progress(make_member(7.0, fitness=3.0, error=0.5)) == (7.0, 0.5)


def test_where_evaluation_has_no_spread_that_of_the_updates_counts(make_member):
    member = make_member(5.0, (4.9,), error=0.0)
    update = member.training.curve[0]
    curve = tuple(update.model_copy(update={"episode_return": value}) for value in (4.0, 6.0))
    spread = member.model_copy(update={"training": member.training.model_copy(update={"curve": curve})})
    assert progress(spread) == (5.0, pytest.approx(1.0))
    assert not improves(spread, 1)
    assert improves(spread.model_copy(update={"offspring": make_member(5.0, (3.5,)).offspring}), 1)


def test_survivors_are_asked_of_those_there_are():
    careful = PopulationConfig(size=4, sizing="adaptive", min_survivors=2)
    assert [careful.required_survivors(size) for size in (1, 2, 4)] == [1, 2, 2]


def test_failed_members_are_never_parents(make_member):
    stalled = make_member(5.0, (5.0, 5.0))
    failed = stalled.model_copy(update={"evaluation": None})
    assert choose(failed, stalled, scores=[-np.inf, 1]) == (1, None, 1, None)
    with pytest.raises(ValueError, match="at least one finished member"):
        choose(failed, scores=[-np.inf])


def test_equal_lines_have_equal_chances(make_member):
    twins = [make_member(1.0, (1.0, 1.0))] * 2
    draws = [choose_lines(twins, [1, 1], POPULATION, np.random.default_rng(seed)).elite for seed in range(40)]
    assert 8 < sum(draws) < 32


def test_a_run_begins_as_a_single_agent_and_spends_its_budget():
    steps = {"training.max_steps": 256 * 13, "population.patience": 1}
    result = train_on_policy(config := make_config(**ADAPTIVE, **steps))
    single = train_on_policy(make_config(**steps, **{"population.size": 1, "selection.tournament_size": 1}))
    first, alone = result.commits[1].members[0], single.commits[1].members[0]
    assert first.training == alone.training and first.evaluation == alone.evaluation
    sizes = [len(commit.members) for commit in result.commits[1:]]
    assert sizes[0] == 1 and max(sizes) > 1
    last = result.commits[-1]
    assert last.train_steps == 256 * sum(sizes) <= config.training.max_steps
    assert is_spent(config, last) and not any(is_spent(config, commit) for commit in result.commits[:-1])
    assert last.train_steps + 256 * len(last.offspring) > config.training.max_steps


def test_new_lines_have_the_best_network_fresh_weights_and_drawn_genes():
    config = make_config(**ADAPTIVE, **{"training.max_steps": 256 * 20, "population.patience": 1})
    commits = train_on_policy(config).commits
    new = [(c, o) for c in commits[1:] for o in c.offspring if o.parent is None]
    assert len(new) > 2
    for commit, child in new:
        best = commit.members[commit.draw.elite].offspring.genome
        assert child.parent_blob is None and child.mutation == NONE and child.lineage_steps == 0
        assert child.genome.architecture == best.architecture and child.ancestor_progress == ()
        assert all(
            config.search[name].min <= v <= config.search[name].max for name, v in child.genome.hyperparameters.items()
        )
    assert len({tuple(child.genome.hyperparameters.values()) for _, child in new}) == len(new)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"population.size": 1, "selection.tournament_size": 1}, "room for more than one line"),
        ({"population.schedule": [8]}, "adaptive chooses the sizes"),
        ({"selection.archive": 1}, "selection.archive: with population.sizing: adaptive it has no effect"),
        ({"selection.method": "truncation"}, "selection.method: with"),
        ({"algorithm.lr_schedule": "linear"}, "use kl or constant"),
    ],
)
def test_settings_that_an_adaptive_population_does_not_follow_are_refused(overrides, said):
    with pytest.raises(ConfigError, match=said):
        make_config(**ADAPTIVE, **overrides)
