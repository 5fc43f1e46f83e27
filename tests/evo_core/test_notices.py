"""Notices about configurations that run but are probably not what was intended."""

import numpy as np
import pytest
from gymnasium import spaces

from evo_core.envs.inspection import inspect_environment
from evo_core.envs.notices import first_generation_notices, notices
from evo_core.local import train_on_policy
from tests import probes
from tests.conftest import make_config


def said(env, **overrides):
    config = make_config(env, **{"training.evo_steps": 2048, "training.max_steps": 6144, **overrides})
    return notices(config, inspect_environment(config))


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (10, 20, r"element 0 is between -1.\d+ and 1.\d+ .*its bounds are 10 and 20.*; network.squash_output: true"),
        (-1000, 1000, "its bounds are -1000 and 1000"),
        (-0.01, 0.01, "its bounds are -0.01 and 0.01"),
        (10, np.inf, "its bounds are 10 and inf, .*scale and shift the actions"),
        (-2, 2, None),
        (0, 1, None),
        (-0.4, 0.4, None),
        (0, np.inf, None),
        (-np.inf, np.inf, None),
        (3, 3, None),
    ],
)
def test_a_notice_is_given_if_the_initial_policy_hardly_overlaps_the_action_bounds(monkeypatch, low, high, message):
    monkeypatch.setattr(probes.Far, "action_space", spaces.Box(low, high, (1,), np.float32))
    found = said("Probe/Far-v0")
    assert len(found) == (message is not None), found
    for notice in found:
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(notice)


def test_a_squashed_policy_meets_every_bound():
    assert said("Probe/Far-v0", **{"network.squash_output": True}) == []


def test_squashing_learns_where_clipping_cannot():
    """The advice of the notice works: the best action is far from those of an initial policy."""
    small = {
        "training.evo_steps": 2048,
        "training.max_steps": 4096,
        "population.size": 1,
        "selection.tournament_size": 1,
    }
    training = {"algorithm.lr": 1e-2, "algorithm.update_epochs": 8, "search": {}, "evaluation.confirm_episodes": 2}
    clipped, squashed = (
        train_on_policy(make_config("Probe/Far-v0", **small, **training, **{"network.squash_output": squash}))
        for squash in (False, True)
    )
    assert clipped.elite.fitness == pytest.approx(-15, abs=0.5)  # the bound at every step, as at the beginning
    assert squashed.elite.fitness > -2
    first = squashed.commits[1].members[0].training.curve[0]
    assert first.episode_return < -4  # it has learned to, and did not begin there


def test_a_notice_is_given_for_observations_that_never_change():
    found = said("Probe/NoLimit-v0", **{"evaluation.max_steps": 50})
    assert [notice for notice in found if "observations did not change in 32 random steps" in notice] == found != []


def test_a_notice_is_given_if_all_returns_of_the_first_generation_are_equal():
    small = {"training.evo_steps": 64, "training.max_steps": 384, "evaluation.confirm_episodes": 2}
    config = make_config("Probe/Zeros-v0", **small)
    commits = train_on_policy(config).commits
    (notice,) = first_generation_notices(config, commits[1])
    assert "every episode of the first generation returned 0, in training and in evaluation" in notice
    assert first_generation_notices(config, commits[0]) == first_generation_notices(config, commits[2]) == []
    honest = train_on_policy(make_config("Probe/Policy-v0", **small)).commits
    assert first_generation_notices(config, honest[1]) == []


def test_an_environment_that_breaks_raises_no_notice():
    assert said("Probe/Faulty-v0", **{"env.kwargs": {"what": "raise", "after": 3}}) == []


def test_ordinary_environments_have_no_notices():
    for env in ("CartPole-v1", "Pendulum-v1", "Probe/Liar-v0", "Probe/Squashed-v0"):
        assert said(env, **{"training.max_steps": 500_000}) == [], env


def test_a_notice_is_given_if_a_line_gets_fewer_steps_than_a_single_agent_needs():
    wide = {"population.size": 8, "training.max_steps": 400_000}
    (notice,) = said("Pendulum-v1", **wide)
    assert "trained for 49,152 steps, and a single agent needs about 150,000 on Pendulum-v1" in notice
    assert "raise training.max_steps to 1,200,000" in notice
    assert said("Pendulum-v1", **{"population.size": 2, "training.max_steps": 400_000}) == []
    assert said("CartPole-v1", **wide) == []  # how much it needs was not measured


def test_an_environment_that_hangs_does_not_delay_the_start_of_a_run(monkeypatch):
    monkeypatch.setattr("evo_core.envs.notices.PATIENCE_S", 0.2)
    hanging = {"env.kwargs": {"what": "hang", "after": 5, "odds": 1.0}}
    (notice,) = said("Probe/Faulty-v0", **hanging)
    assert "did not finish 32 random steps within 0.2 s" in notice and "--member-deadline" in notice
