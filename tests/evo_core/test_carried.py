"""Wrappers that carry state from one episode to the next are detected by their behavior and refused."""

import numpy as np
import pytest

from evo_core.config.parsing import ConfigError
from evo_core.envs.inspection import check_environment
from tests import probes
from tests.conftest import make_config

PACKAGES = ("tests",)


@pytest.mark.parametrize(
    ("wrappers", "said"),
    [
        (["NormalizeReward"], "NormalizeReward keeps statistics .* set algorithm.normalize_returns: true"),
        (["NormalizeObservation"], "NormalizeObservation keeps statistics .* algorithm.normalize_observations: true"),
        (["tests.probes:Contains"], "NormalizeReward keeps statistics"),
        (["tests.probes:RewardByHabit"], r"same seed and actions, step \d+: reward is .* the first time and .* second"),
        (["tests.probes:ShiftByHabit"], "a wrapper carries state .*: observation is"),
        (["tests.probes:ActByHabit"], "step 1: the action that reaches the environment differs"),
    ],
)
def test_wrappers_that_carry_state_are_refused(wrappers, said):
    config = make_config("CartPole-v1", **{"env.wrappers": wrappers})
    with pytest.raises(ConfigError, match=said):
        check_environment(config, PACKAGES)


def test_a_wrapper_of_the_registration_is_found_too():
    with pytest.raises(
        ConfigError, match=r"env\.id 'Probe/Normalized-v0', wrapped where it is registered: NormalizeRew"
    ):
        check_environment(make_config("Probe/Normalized-v0"))


@pytest.mark.parametrize(
    ("env", "wrappers"),
    [
        ("LunarLander-v3", [{"RescaleObservation": {"min_obs": -1, "max_obs": 1}}, "TimeAwareObservation"]),
        ("Pendulum-v1", ["ClipAction", {"FrameStackObservation": {"stack_size": 3}}, "RecordEpisodeStatistics"]),
        ("CartPole-v1", [{"StickyAction": {"repeat_action_probability": 0.5}}]),
        ("Probe/Unseeded-v0", ["RecordEpisodeStatistics"]),  # draws from a generator that nobody seeds
        ("Probe/ReusedBuffer-v0", ["TimeAwareObservation"]),
        ("Probe/Habit-v0", ["TimeAwareObservation"]),  # an environment that remembers, and an honest wrapper
        ("Probe/ForbiddenFruit-v0", ["RecordEpisodeStatistics"]),
        ("Probe/Faulty-v0", ["TimeAwareObservation"]),  # breaks: another finding
        ("CartPole-v1", ["tests.probes:Noise"]),  # a wrapper that no seed reaches: another finding
    ],
)
def test_stateless_wrappers_and_environments_are_accepted(env, wrappers):
    config = make_config(env, **{"env.wrappers": wrappers, "evaluation.max_steps": 50})
    assert check_environment(config, PACKAGES).spaces


def test_plain_environments_are_not_even_played(monkeypatch):
    monkeypatch.setattr(probes.Policy, "outcome", lambda self, action: pytest.fail("was played"))
    check_environment(make_config("Probe/Policy-v0"))


def test_nothing_stays_open(monkeypatch):
    monkeypatch.setattr(probes.Only, "alive", 0)
    monkeypatch.setattr(probes.Only, "most", 1)
    check_environment(make_config("Probe/Only-v0", **{"env.num_envs": 1, "env.wrappers": ["TimeAwareObservation"]}))
    assert probes.Only.alive == 0
    assert np.isfinite(probes.Only.peak)
