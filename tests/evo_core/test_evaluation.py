"""Evaluation: full episodes on common, fresh seeds, and nothing stepped for longer than its episode."""

import gymnasium as gym
import numpy as np
import pytest

from evo_core.agent.checkpoint import to_bytes
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.confirmation import chunk_count, confirmation, play_chunk
from evo_core.evaluation.episodes import confirmation_seeds, evaluate, evaluation_seeds, play_episodes
from evo_core.evaluation.run_end import deliver, reaches_target
from evo_core.evolution.population import create_population
from evo_core.local import train_on_policy
from evo_core.records.canonical import canonical_json
from evo_core.records.chain import BlobRef, Confirmation, EliteRef, Evaluation, Generation, Training
from evo_core.training import evaluate_member
from tests import probes
from tests.conftest import make_config
from tests.evo_core.test_learn import make_agent


def one_by_one(agent, config, seeds):
    """Play the same episodes with plain Gymnasium, one after another."""
    returns, steps = [], 0
    for seed in seeds:
        env = gym.make(config.env.id)
        observation, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            (action,), _ = agent.act([observation])
            observation, reward, terminated, truncated, _ = env.step(action)
            total, ended, steps = total + float(reward), terminated or truncated, steps + 1
        returns.append(total)
    return returns, steps


def test_returns_and_steps_are_those_of_plain_gymnasium():
    config = make_config(**{"evaluation.episodes": 7})
    agent, seeds = make_agent(config), evaluation_seeds(config, 3)
    returns, steps = one_by_one(agent, config, seeds)
    result = evaluate(agent, config, seeds)
    assert result.fitness == pytest.approx(np.mean(returns))
    assert result.fitness_sem == pytest.approx(np.std(returns, ddof=1) / np.sqrt(7))
    assert (result.episodes, result.steps) == (7, steps)
    assert result.returns == pytest.approx(returns)
    assert result.fitness == np.mean(result.returns)


def test_a_record_without_returns_is_read_and_keeps_its_bytes():
    old = b'{"episodes":2,"fitness":60.5,"fitness_sem":5.5,"steps":121}'
    record = Evaluation.model_validate_json(old)
    assert record.returns is None
    assert canonical_json(record) == old


def test_seeds_are_common_to_a_generation_new_in_each_and_apart_from_confirmation():
    config = make_config(**{"evaluation.episodes": 50, "evaluation.confirm_episodes": 50})
    seeds = [evaluation_seeds(config, g) for g in range(5)] + [confirmation_seeds(config, g) for g in range(5)]
    assert len({seed for some in seeds for seed in some}) == 500
    assert evaluation_seeds(config, 2) == evaluation_seeds(config, 2)


def test_one_episode_has_no_standard_error():
    config = make_config(**{"evaluation.episodes": 1})
    assert evaluate(make_agent(config), config, evaluation_seeds(config, 1)).fitness_sem is None


def test_episodes_are_cut_where_the_configuration_says():
    config = make_config(**{"evaluation.max_steps": 5, "evaluation.episodes": 3})
    result = evaluate(make_agent(config), config, evaluation_seeds(config, 1))
    assert (result.fitness, result.steps) == (5.0, 15)


def test_drawn_actions_are_reproducible():
    config = make_config(**{"evaluation.deterministic": False, "evaluation.episodes": 4})
    agent, seeds = make_agent(config), evaluation_seeds(config, 1)
    first, second = (play_episodes(agent, config, seeds)[0].tolist() for _ in range(2))
    assert first == second
    assert first != play_episodes(agent, make_config(**{"evaluation.episodes": 4}), seeds)[0].tolist()


def test_drawn_actions_are_independent_of_what_the_environment_draws():
    config = make_config("Probe/Coin-v0", **{"evaluation.deterministic": False})
    agent, scores = make_agent(config), []
    for seed in range(400):
        scores.append(play_episodes(agent, config, [seed])[0].mean())
    assert np.mean(scores) == pytest.approx(0.5, abs=0.1)


LIMITED = {
    "discrete": ("CartPole-v1", {}),
    "continuous": ("Pendulum-v1", {"evaluation.max_steps": 40}),
    "drawn": ("CartPole-v1", {"evaluation.deterministic": False, "evaluation.max_steps": 25}),
    "masked and drawn": ("Probe/MaskedMemory-v0", {"evaluation.deterministic": False, "algorithm.recurrent": True}),
    "indices": ("Probe/Shifted-v0", {"evaluation.deterministic": False}),
    "cut": ("LunarLander-v3", {"evaluation.max_steps": 65}),
}


@pytest.mark.parametrize("kind", LIMITED)
def test_how_many_environments_are_open_changes_no_bit(kind):
    env, overrides = LIMITED[kind]
    config = make_config(env, **overrides)
    agent = make_agent(config)
    seeds = list(range(30))
    whole = play_episodes(agent, config, seeds)
    for most in (4, 11):
        limited = play_episodes(agent, config.with_instances(most), seeds)
        assert limited.returns.tobytes() == whole.returns.tobytes()
        assert limited.lengths.tolist() == whole.lengths.tolist()
    assert len(set(whole.lengths.tolist())) > 1 or kind in ("continuous", "masked and drawn", "indices")


def test_an_environment_of_which_only_one_may_be_open_is_trained_evaluated_and_confirmed(monkeypatch):
    monkeypatch.setattr(probes.Only, "alive", 0)
    monkeypatch.setattr(probes.Only, "peak", 0)
    monkeypatch.setattr(probes.Only, "most", 99)
    small = {"env.num_envs": 1, "training.evo_steps": 64, "training.max_steps": 192, "evaluation.episodes": 1}
    config = make_config("Probe/Only-v0", **small)
    free = train_on_policy(config)
    assert (probes.Only.peak, probes.Only.alive) == (4, 0)
    monkeypatch.setattr(probes.Only, "most", 1)
    limited = train_on_policy(make_config("Probe/Only-v0", **small, **{"env.max_instances": 1}))
    assert limited.head == free.head
    assert limited.confirmed == free.confirmed is not None
    assert train_on_policy(config).confirmed is None  # what it was before there was a limit


@pytest.mark.parametrize(
    ("env", "what", "reason"),
    [
        ("Faulty", "nan_reward", "nan_reward"),
        ("Faulty", "inf_reward", "nan_reward"),
        ("Faulty", "nan_observation", "nan_observation"),
        ("Faulty", "nan_last_observation", "nan_observation"),
        ("Faulty", "raise", "environment_error"),
        ("Huge", None, "nan_loss"),
        ("HugeContinuous", None, "nan_loss"),
        ("OutsideItsSpace", None, "environment_error"),
    ],
)
def test_an_error_in_evaluation_fails_the_member_with_reason_and_step(env, what, reason):
    config = make_config(f"Probe/{env}-v0", **({"env.kwargs": {"what": what, "after": 0}} if what else {}))
    agent = make_agent(config)
    blob = to_bytes(agent.state())
    spaces = inspect_environment(config).spaces
    offspring = create_population(config, spaces.observation).offspring[0]
    training = Training(uid=offspring.uid, steps=256, blob=BlobRef(sha256="0" * 64, size=1))
    member = evaluate_member(config, offspring, training, blob, spaces)
    assert member.evaluation is None
    assert member.failure.reason == reason
    assert 256 <= member.failure.step <= 256 + 2 * 3
    elite = EliteRef(uid=offspring.uid, generation=1, fitness=0, fitness_sem=None, episodes=1, blob=training.blob)
    assert play_chunk(config, elite, blob, spaces, 0) is None
    assert confirmation(config, elite, [None]) is None


def generation(fitness, best=None):
    def elite(uid, value):
        return EliteRef(
            uid=uid, generation=1, fitness=value, fitness_sem=None, episodes=1, blob=BlobRef(sha256=uid, size=1)
        )

    last = elite("last", fitness)
    return Generation.model_construct(generation=1, elite=last, best=elite("best", best) if best else last)


def scored(mean):
    return Confirmation(uid="x", mean=mean, ci95=(mean, mean), episodes=2, steps=1) if mean is not None else None


@pytest.mark.parametrize(
    ("fitness", "confirmed", "reached"), [(10, 10, True), (10, 9.9, False), (10, None, False), (9.9, 99, False)]
)
def test_a_target_must_be_reached_in_evaluation_and_in_confirmation(fitness, confirmed, reached):
    asked = []
    config = make_config(**{"training.target": 10.0})
    assert reaches_target(config, generation(fitness), lambda elite: asked.append(1) or scored(confirmed)) == reached
    assert len(asked) == (fitness >= 10)
    assert not reaches_target(make_config(), generation(fitness), lambda elite: scored(99))


@pytest.mark.parametrize(
    ("last", "best", "delivered"),
    [(5, 6, "best"), (6, 6, "last"), (6, 5, "last"), (None, 5, "best"), (5, None, "last"), (None, None, "last")],
)
def test_the_better_one_in_confirmation_is_delivered(last, best, delivered):
    scores = {"last": scored(last), "best": scored(best)}
    elite, confirmed = deliver(make_config(), generation(1, best=2), lambda elite: scores[elite.uid])
    assert elite.uid == delivered
    assert confirmed == scores[delivered]


def test_a_confirmation_in_chunks_equals_one_over_all_episodes():
    config = make_config(**{"evaluation.confirm_episodes": 60})
    agent = make_agent(config)
    content = to_bytes(agent.state())
    elite = EliteRef(
        uid="g0001/m00", generation=1, fitness=0, fitness_sem=None, episodes=1, blob=BlobRef(sha256="0" * 64, size=1)
    )
    env = gym.make(config.env.id)
    from evo_core.spaces.spaces import Spaces

    spaces = Spaces(env.observation_space, env.action_space)
    assert chunk_count(config) == 3
    chunks = [play_chunk(config, elite, content, spaces, i) for i in range(3)]
    assert [len(chunk.values) for chunk in chunks] == [25, 25, 10]
    record = confirmation(config, elite, chunks)
    returns, steps = one_by_one(agent, config, confirmation_seeds(config, 1))
    assert (record.mean, record.episodes, record.steps) == (pytest.approx(np.mean(returns)), 60, steps)
    half = 2.000995 * np.std(returns, ddof=1) / np.sqrt(60)  # the 97.5 % quantile of Student's t with 59 degrees
    assert record.ci95 == pytest.approx((np.mean(returns) - half, np.mean(returns) + half), rel=1e-4)
