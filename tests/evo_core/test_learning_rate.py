"""Schedules of the learning rate: values, records, and inheritance by offspring."""

import numpy as np
import pytest

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import CheckpointError, from_bytes, to_bytes
from evo_core.agent.transfer import transfer
from evo_core.local import train_on_policy
from evo_core.ppo.learn import learn
from evo_core.ppo.learning_rate import adapted, decayed
from evo_core.records.chain import config_hash
from tests.conftest import make_config
from tests.evo_core.test_learn import make_agent, make_rollout

KL = {"algorithm.lr_schedule": "kl", "search": {}, "mutation.rl_hp": 0.0, "algorithm.update_epochs": 4}


def test_a_linear_schedule_decays_over_the_last_third():
    rates = [decayed(0.3, progress) for progress in (0.0, 0.5, 2 / 3, 0.75, 5 / 6, 1.0)]
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.225, 0.15, 0.0])


@pytest.mark.parametrize(
    ("lr", "kl", "expected"),
    [
        (1e-4, 0.021, 1e-4 / 1.5),
        (1e-4, 0.02, 1e-4),
        (1e-4, 0.005, 1e-4),
        (1e-4, 0.0049, 1.5e-4),
        (1e-4, 0.0, 1.5e-4),
        (9e-4, 0.0, 1e-3),
        (1.2e-5, 1.0, 1e-5),
        (0.1, 0.0, 0.1),
        (0.1, 1.0, 0.1 / 1.5),
        (1e-6, 1.0, 1e-6),
        (1e-6, 0.0, 1.5e-6),
        (1e-3, float("nan"), 1e-3),
    ],
)
def test_an_adaptive_rate_follows_the_divergence_between_its_bounds(lr, kl, expected):
    assert adapted(lr, kl, 0.01) == pytest.approx(expected)


@pytest.mark.parametrize(("desired", "grows"), [(1.0, True), (1e-9, False)])
def test_learning_adapts_the_agents_rate_after_every_epoch(desired, grows):
    config = make_config(**KL, **{"algorithm.lr": 1e-4, "algorithm.desired_kl": desired})
    agent = make_agent(config)
    stats = learn(agent, make_rollout(agent, config), config.algorithm, np.random.default_rng(0))
    factor = 1.5 if grows else 1 / 1.5
    assert stats.lr == pytest.approx(1e-4 * factor**3)  # that of the last of four epochs
    assert agent.lr == pytest.approx(1e-4 * factor**4)
    again = learn(agent, make_rollout(agent, config), config.algorithm, np.random.default_rng(0))
    assert again.lr == pytest.approx(max(min(1e-4 * factor**7, 1e-3), 1e-5), rel=1e-6)


def test_the_rate_is_part_of_the_checkpoint_and_passes_to_offspring():
    config = make_config(**KL)
    agent = make_agent(config)
    plain = to_bytes(agent.state())
    agent.lr = 3e-4
    content = to_bytes(agent.state())
    state = from_bytes(content, agent.spaces)
    assert state.lr == 3e-4
    assert transfer(state, agent.genome, agent.spaces, np.random.default_rng(0)).lr == 3e-4
    assert Agent(state, agent.spaces).lr == 3e-4
    assert from_bytes(plain, agent.spaces).lr is None
    broken = content.replace(b"0.0003", b"7.0003", 1)
    with pytest.raises(CheckpointError, match=r"expected a learning rate above 0, at most 1, got 7\.0003"):
        from_bytes(broken, agent.spaces)


def test_an_adaptive_learning_rate_is_inherited_along_a_line():
    config = make_config(**KL, **{"algorithm.lr": 3e-5, "algorithm.desired_kl": 1e-3})
    commits = train_on_policy(config).commits
    assert train_on_policy(config).commits == commits
    members = {member.uid: member for commit in commits for member in commit.members}
    children = [member for member in members.values() if member.offspring.parent]
    assert children
    for child in children:
        last, first = members[child.offspring.parent].training.curve[-1].lr, child.training.curve[0].lr
        steps = np.log(first / last) / np.log(1.5)
        assert abs(steps) <= 4.001  # at most one step per epoch; founders begin at 3e-5
    assert len({member.training.curve[-1].lr for member in members.values()}) > 1


def test_the_linear_rate_of_a_run_falls_to_its_end_and_depends_on_the_budget():
    config = make_config(**{"algorithm.lr_schedule": "linear", "search": {}, "mutation.rl_hp": 0.0})
    commits = train_on_policy(config).commits[1:]
    rates = [update.lr for commit in commits for update in commit.members[0].training.curve]
    assert rates == pytest.approx([1e-3] * 5 + [0.5e-3])  # two updates in each of three generations
    longer = config.training.model_copy(update={"max_steps": config.training.max_steps * 2})
    assert config_hash(config.model_copy(update={"training": longer})) != config_hash(config)
    constant = make_config()
    assert config_hash(constant.model_copy(update={"training": longer})) == config_hash(constant)
    assert all(update.lr is None for m in train_on_policy(constant).commits[1].members for update in m.training.curve)


def test_a_linear_schedule_decays_the_value_of_the_lr_gene():
    config = make_config(**{"algorithm.lr_schedule": "linear", "population.init": "diverse"})
    for member in train_on_policy(config).commits[-1].members:
        gene = member.offspring.genome.hyperparameters["lr"]
        assert [update.lr for update in member.training.curve] == pytest.approx([gene, gene / 2])
