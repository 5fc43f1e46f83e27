"""The whole evolution in one process."""

from itertools import pairwise

import numpy as np
import pytest

from evo_core.envs.inspection import inspect_environment
from evo_core.evolution.population import create_population, next_generation, require_survivors
from evo_core.lineage.tree import Lineage
from evo_core.local import train_on_policy
from evo_core.records.canonical import sha256
from evo_core.records.chain import Generation, config_hash, record_hash
from evo_core.records.failures import GenerationFailed
from evo_core.training import record_lost_member, train
from tests.conftest import make_config


def test_a_run_chains_its_generations_and_counts_every_step():
    config = make_config()
    result = train_on_policy(config)
    assert [commit.generation for commit in result.commits] == [0, 1, 2, 3]
    assert result.commits[0].previous == config_hash(config)
    for before, after in zip(result.commits, result.commits[1:], strict=False):
        assert after.previous == record_hash(before)
        assert [member.offspring for member in after.members] == list(before.offspring)
        assert all(member.training.steps == 256 for member in after.members)
        assert all(sum(update.steps for update in member.training.curve) == 256 for member in after.members)
        assert after.offspring[0].genome == after.members[after.draw.elite].offspring.genome
        assert after.offspring[0].mutation.kind == "none"
        for child, parent in zip(after.offspring, after.draw.parents, strict=True):
            assert child.parent == after.members[parent].uid
            assert child.parent_blob == after.members[parent].training.blob
            assert child.lineage_steps == 256 * after.generation
    assert result.commits[-1].train_steps == 2304 == config.training.max_steps
    assert result.status == "budget_spent"
    assert sha256(result.checkpoint) == result.elite.blob.sha256
    assert result.confirmed.episodes == 4


def test_the_delivered_agent_plays():
    result = train_on_policy(make_config())
    assert repr(result) == str(result) and result.elite.uid in repr(result) and len(repr(result)) < 200
    agent = result.agent()
    actions, memory = agent.act(np.zeros((1, 4), np.float32))
    assert actions in ([0], [1])
    assert memory.shape == (1, 0)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "Probe/Grid4-v0"])
@pytest.mark.parametrize("share_encoder", [True, False])
def test_every_kind_of_space_evolves(env, share_encoder):
    config = make_config(env, **{"network.share_encoder": share_encoder, "evaluation.max_steps": 50})
    result = train_on_policy(config)
    assert all(member.failure is None for commit in result.commits for member in commit.members)


def test_the_same_seed_gives_the_same_chain_and_another_seed_another():
    first, second, other = (train_on_policy(make_config(seed=seed)).head for seed in (1, 1, 2))
    assert first == second != other


def test_a_larger_budget_continues_the_same_chain():
    short = train_on_policy(make_config(**{"training.max_steps": 1536}))
    long = train_on_policy(make_config())
    assert long.commits[:3] == short.commits


def test_a_population_may_begin_large_and_the_best_of_it_go_on():
    schedule = {"population.schedule": [6, 4], "population.size": 2, "training.max_steps": 256 * 15 + 100}
    config = make_config(**schedule, **{"mutation.no_mutation": 0.0})
    assert (config.max_generations, config.planned_steps, config.left_over_steps) == (4, 256 * 14, 356)
    commits = train_on_policy(config).commits
    assert [len(commit.members) for commit in commits[1:]] == [6, 4, 2, 2]
    assert commits[-1].train_steps == config.planned_steps
    for commit, size in zip(commits[1:3], (4, 2), strict=True):
        best = sorted(commit.draw.scores)[-size:]
        assert sorted(commit.draw.scores[parent] for parent in commit.draw.parents) == best
        assert all(child.mutation.kind == "none" for child in commit.offspring)
        assert len({child.parent for child in commit.offspring}) == size
    assert [child.mutation.kind == "none" for child in commits[3].offspring] == [True, False]
    short = train_on_policy(
        make_config(**{**schedule, "training.max_steps": 256 * 10}, **{"mutation.no_mutation": 0.0})
    )
    assert short.commits == commits[:3]


@pytest.mark.parametrize(("members", "generations"), [(6, 1), (9, 1), (10, 2), (11, 2), (12, 3), (13, 3), (20, 7)])
def test_generations_of_a_schedule_are_counted_by_their_sizes(members, generations):
    sizes = {"population.schedule": [6, 4], "population.size": 2, "training.max_steps": 256 * members + 3}
    config = make_config(**sizes)
    assert config.max_generations == generations
    assert config.planned_steps + config.left_over_steps == 256 * members + 3
    assert config.left_over_steps < 256 * config.population.size_of(generations + 1)


def test_during_warm_up_every_line_continues_unmutated_and_then_selection_begins():
    config = make_config(**{"selection.warm_up": 2, "training.max_steps": 768 * 4, "mutation.no_mutation": 0.0})
    commits = train_on_policy(config).commits
    for commit in commits[1:3]:
        assert commit.draw.parents == (0, 1, 2)
        assert all(child.mutation.kind == "none" for child in commit.offspring)
        assert [child.genome for child in commit.offspring] == [m.offspring.genome for m in commit.members]
    assert [child.mutation.kind == "none" for child in commits[3].offspring].count(True) == 1  # the elite


def test_with_truncation_only_copies_of_the_best_mutate():
    config = make_config(**{"selection.method": "truncation", "selection.quantile": 0.2, "population.size": 4})
    for commit in train_on_policy(config).commits[1:]:
        scores = list(commit.draw.scores)
        (replaced,) = (slot for slot, parent in enumerate(commit.draw.parents) if slot != parent)
        assert scores[replaced] == min(scores)
        assert scores[commit.draw.parents[replaced]] == max(scores)
        kinds = {slot for slot, child in enumerate(commit.offspring) if child.mutation.kind != "none"}
        assert kinds <= {replaced}


def test_the_best_checkpoints_stay_parents_and_are_evaluated_again_in_every_generation():
    config = make_config(**{"selection.archive": 2, "training.max_steps": 768 * 5, "evaluation.episodes": 3})
    commits = train_on_policy(config).commits
    assert commits[-1].train_steps == 768 * 5
    members = {member.uid: member for commit in commits for member in commit.members}
    revived = set()
    for before, after in pairwise(commits[1:]):
        best = sorted(-score for score in before.draw.scores if score is not None)[:2]
        assert sorted(-before.draw.scores[entry] for entry in before.draw.archive) == best
        slots, copies = after.members[:3], after.members[3:]
        assert all(not member.offspring.archived and member.training.steps == 256 for member in slots)
        for copy, entry in zip(copies, before.draw.archive, strict=True):
            source = members[before.members[entry].uid]
            assert copy.offspring.archived and copy.offspring.parent == source.uid
            assert copy.training.blob == source.training.blob and copy.training.steps == 0
            assert copy.offspring.genome == source.offspring.genome
            assert copy.offspring.lineage_steps == source.offspring.lineage_steps + source.training.steps
            assert copy.evaluation.returns != source.evaluation.returns  # other seeds
        revived |= {m.uid for m in slots if members[m.offspring.parent].offspring.archived}
    assert revived  # a child of an archived checkpoint, which its generation alone would have lost


def test_archived_members_are_no_siblings_and_no_survivors():
    config = make_config(**{"selection.archive": 3, "training.max_steps": 768 * 4})
    lineage = Lineage(train_on_policy(config).commits)
    family = [child for children in lineage.trained_children.values() for child in children]
    assert family and not any(child.offspring.archived for child in family)
    commit = lineage.commits[-1]
    lost = [record_lost_member(m.offspring, None, "lost") if not m.offspring.archived else m for m in commit.members]
    with pytest.raises(GenerationFailed, match="0 of 3 members finished"):
        require_survivors(config, commit.generation, lost)


def test_with_an_unreachable_margin_no_member_is_replaced():
    truncation = {"selection.method": "truncation", "selection.quantile": 0.5, "population.size": 4}
    assert any(c.draw.parents != (0, 1, 2, 3) for c in train_on_policy(make_config(**truncation)).commits[1:])
    careful = make_config(**truncation, **{"selection.margin": 10.0, "evaluation.episodes": 4})
    assert all(commit.draw.parents == (0, 1, 2, 3) for commit in train_on_policy(careful).commits[1:])


def test_a_member_may_train_for_another_number_of_steps():
    config = make_config()
    spaces = inspect_environment(config).spaces
    founder = create_population(config, spaces.observation).offspring[0]
    _, training = train(config, founder, None, spaces, steps=384)
    assert training.steps == sum(update.steps for update in training.curve) == 384
    assert train(config, founder, None, spaces) == train(config, founder, None, spaces, steps=256)
    for wrong in (0, 130):
        with pytest.raises(ValueError, match=rf"multiple of env.num_envs \(4\), got {wrong}"):
            train(config, founder, None, spaces, steps=wrong)


def test_selection_and_mutation_may_be_replaced():
    def clone_the_worst(config, previous, members):
        commit = next_generation(config, previous, members)
        worst = min(members, key=lambda member: member.fitness)
        update = {"parent": worst.uid, "parent_blob": worst.training.blob, "genome": worst.offspring.genome}
        return commit.model_copy(update={"offspring": tuple(o.model_copy(update=update) for o in commit.offspring)})

    for before, after in pairwise(train_on_policy(make_config(), breed=clone_the_worst).commits[1:]):
        worst = min(before.members, key=lambda member: member.fitness)
        assert {member.offspring.parent for member in after.members} == {worst.uid}


def test_the_target_ends_a_run_once_confirmed():
    result = train_on_policy(make_config(**{"training.target": 5.0}))
    assert result.status == "target_reached"
    assert len(result.commits) == 2
    assert result.confirmed.mean >= 5.0


@pytest.mark.parametrize(
    ("env", "overrides"),
    [
        ("CartPole-v1", {"population.size": 1, "selection.tournament_size": 1, "env.num_envs": 1}),
        ("CartPole-v1", {"selection.elitism": False, "population.init": "diverse"}),
        ("CartPole-v1", {"search.learn_step": {"min": 4, "max": 4096, "scale": "log", "step": 0.5}}),
        ("CartPole-v1", {"search.batch_size": {"min": 1, "max": 100_000, "scale": "log", "step": 0.5}}),
        ("CartPole-v1", {"search.update_epochs": {"min": 1, "max": 4}, "algorithm.clip_value": True}),
        ("CartPole-v1", {"algorithm.target_kl": 0.02, "search.target_kl": {"min": 0.001, "max": 1, "scale": "log"}}),
        ("Probe/Shifted-v0", {}),
        ("Probe/OddActions-v0", {}),
    ],
)
def test_unusual_configurations_run_to_their_end(env, overrides):
    config = make_config(env, **{"mutation.rl_hp": 5.0, **overrides})
    result = train_on_policy(config)
    assert result.commits[-1].generation == config.max_generations
    assert all(member.failure is None for commit in result.commits for member in commit.members)
    assert all(m.training.steps == 256 for commit in result.commits[1:] for m in commit.members)


def test_a_fitness_window_averages_over_a_members_line():
    config = make_config(**{"selection.fitness_window": 3, "training.max_steps": 768 * 5})
    commits = train_on_policy(config).commits
    members = {member.uid: member for commit in commits for member in commit.members}

    def line(member):
        parent = members.get(member.offspring.parent)
        return [*(line(parent) if parent else []), member.fitness]

    for commit in commits[1:]:
        expected = [np.mean(line(member)[-3:]) for member in commit.members]
        assert commit.draw.scores == pytest.approx(expected)


def test_founders_are_the_configuration_and_mutations_of_it():
    config = make_config(**{"population.size": 20, "training.max_steps": 10_000})
    founders = create_population(config, inspect_environment(config).spaces.observation).offspring
    assert founders[0].mutation.kind == "none"
    assert founders[0].genome.hyperparameters == {"lr": 1e-3, "batch_size": 64}
    kinds = [founder.mutation.kind for founder in founders]
    assert len(set(kinds)) >= 4
    for founder in founders:
        changed = founder.genome != founders[0].genome
        assert changed == (founder.mutation.kind not in ("none", "parameters"))


@pytest.mark.parametrize("seed", [1, 2])
def test_diverse_founders_are_the_configuration_and_a_net_over_the_ranges(seed):
    ranges = {"lr": {"min": 1e-6, "max": 1e-1, "scale": "log"}, "gamma": {"min": 0.8, "max": 0.999, "scale": "log1m"}}
    size = {"population.size": 65, "population.init": "diverse", "training.max_steps": 100_000}
    config = make_config(**size, search=ranges, seed=seed)
    founders = create_population(config, inspect_environment(config).spaces.observation).offspring
    assert founders[0].genome.hyperparameters == {"lr": 1e-3, "gamma": 0.99}
    genes = [founder.genome.hyperparameters for founder in founders[1:]]
    positions = np.array([[config.search[name].position(value[name]) for name in ranges] for value in genes])
    for across in (1, 2, 4, 8, 16, 32, 64):  # every box of a (0, 6, 2)-net holds one of its 64 points
        boxes = np.histogram2d(*positions.T, bins=(across, 64 // across), range=[[0, 1], [0, 1]])[0]
        assert (boxes == 1).all()
    other = create_population(
        make_config(**size, search=ranges, seed=seed + 10), inspect_environment(config).spaces.observation
    )
    assert other.offspring[1].genome != founders[1].genome


def test_a_population_of_one_founder_may_be_diverse():
    config = make_config(**{"population.size": 1, "selection.tournament_size": 1, "population.init": "diverse"})
    (founder,) = create_population(config, inspect_environment(config).spaces.observation).offspring
    assert founder.genome.hyperparameters == {"lr": 1e-3, "batch_size": 64}


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("nan_reward", "nan_reward"),
        ("inf_reward", "nan_reward"),
        ("nan_observation", "nan_observation"),
        ("nan_last_observation", "nan_observation"),
        ("raise", "environment_error"),
    ],
)
def test_a_member_whose_environment_breaks_fails_alone_and_is_never_a_parent(what, reason):
    config = faulty(what, odds=0.003)
    commits: list[Generation] = []
    result = train_on_policy(config, on_generation=commits.append)
    failed = [member for commit in commits for member in commit.members if member.failure]
    assert result.commits[-1].generation == config.max_generations
    assert failed
    for member in failed:
        assert member.failure.reason == reason
        assert member.evaluation is None
        assert 0 <= member.failure.step <= 256
    uids = {member.uid for member in failed}
    assert not uids & {child.parent for commit in commits for child in commit.offspring}
    assert not uids & {commit.elite.uid for commit in commits}


def test_a_loss_that_turns_nan_fails_the_member_with_its_step():
    config = make_config(
        "Probe/Policy-v0",
        **{
            "algorithm.lr": 1.0,
            "algorithm.max_grad_norm": 1e6,
            "algorithm.update_epochs": 60,
            "algorithm.vf_coef": 100.0,
            "search": {},
            "population.min_survivors": 1,
        },
    )
    overflowing = config.model_copy(update={"algorithm": config.algorithm.model_copy(update={"lr": 1e30})})
    with pytest.raises(GenerationFailed, match=r"g0001/m00: nan_loss at step 128"):
        train_on_policy(overflowing)


def test_too_few_survivors_fail_the_generation_by_name():
    with pytest.raises(GenerationFailed) as caught:
        train_on_policy(faulty("nan_reward", odds=1.0))
    message = str(caught.value)
    assert "generation 1: 0 of 6 members finished" in message
    assert "generation 0 stands" in message
    assert "g0001/m05: nan_reward at step" in message


def faulty(what, odds):
    return make_config(
        "Probe/Faulty-v0",
        **{
            "env.kwargs": {"what": what, "after": 10, "odds": odds},
            "population.size": 6,
            "population.min_survivors": 1,
            "training.max_steps": 6144,
        },
    )
