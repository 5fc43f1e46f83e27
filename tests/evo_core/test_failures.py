"""Failure details: the environment's exception and where it was raised, outside of the hashed records."""

import gymnasium as gym
import numpy as np
import pytest

from evo_core.local import run_member, train_on_policy
from evo_core.records.chain import FailureDetail
from evo_core.records.failures import (
    FRAMES,
    MESSAGE_LENGTH,
    GenerationFailed,
    MemberFailure,
    describe_exception,
    shortened,
)
from tests.conftest import make_config
from tests.probes import Probe


class Arm(Probe):
    """Raises in one of its environments: that whose seed made it the clumsy one."""

    def outcome(self, action):
        if self.time > 10 and self.np_random.random() < 0.02:
            self.hit()
        return float(action), self.time >= 40

    def hit(self):
        raise RuntimeError("the arm hit the table")


class Late(Probe):
    def outcome(self, action):
        if self.time > 30:
            raise RuntimeError("too late")
        return 0.0, False


class NoNumber(Probe):
    def outcome(self, action):
        return np.nan if self.time == 5 else 0.0, False


@pytest.fixture(scope="module", autouse=True)
def _environments():
    gym.register("Failing/Arm-v0", entry_point=Arm, max_episode_steps=50)
    gym.register("Failing/Late-v0", entry_point=Late, max_episode_steps=50)
    gym.register("Failing/NoNumber-v0", entry_point=NoNumber, max_episode_steps=50)
    yield
    for name in ("Failing/Arm-v0", "Failing/Late-v0", "Failing/NoNumber-v0"):
        del gym.registry[name]


def failing(env, **overrides):
    """Train the first founder; return its record and the details of its failure."""
    config, details = make_config(env, **overrides), {}
    from evo_core.envs.inspection import inspect_environment
    from evo_core.evolution.population import create_population

    spaces = inspect_environment(config).spaces
    offspring = create_population(config, spaces.observation).offspring[0]
    member = run_member(config, offspring, {}, spaces, details=details)
    return member, details[member.uid]


def test_a_failure_detail_has_the_exception_its_place_and_the_environments_frames():
    member, detail = failing("Failing/Arm-v0")
    assert (detail.error, detail.message) == ("RuntimeError", "the arm hit the table")
    step, environment, own, episode = detail.where.split(", ")
    assert step == f"step {member.failure.step} of the member"
    assert environment in {f"environment {index}" for index in range(4)}
    assert own == f"its step {member.failure.step // 4}"
    assert 10 <= int(episode.split()[0]) <= int(own.split()[-1])
    names = [frame.split(" in ", 1)[1].split(":")[0] for frame in detail.frames]
    assert names == ["step", "outcome", "hit"]  # neither this program's nor Gymnasium's
    assert detail.frames[-1].endswith('raise RuntimeError("the arm hit the table")')
    assert "arm" not in member.model_dump_json()  # what is hashed


def test_a_value_at_fault_names_its_environment_too():
    _, detail = failing("Failing/NoNumber-v0")
    assert detail.error is None
    assert "rewards [nan, nan, nan, nan]" in detail.message
    assert "environment 0, its step 5" in detail.where


def test_failures_in_evaluation_count_steps_from_the_members_start():
    member, detail = failing("Failing/Late-v0", **{"env.num_envs": 16})  # 16 steps each in training
    assert member.training.steps == 256
    assert member.failure.step == 256 + 2 * 30
    assert detail.where == (
        "step 316 of the member, in evaluation, environment 0, its step 30, 30 steps into its episode"
    )


def test_a_generation_that_fails_quotes_each_fault_once():
    config = make_config("Probe/Faulty-v0", **{"env.kwargs": {"what": "raise", "after": 3, "odds": 1.0}})
    with pytest.raises(GenerationFailed) as failed:
        train_on_policy(config)
    said = str(failed.value)
    assert "g0001/m02: environment_error at step" in said
    assert said.count("g0001/m00: RuntimeError: the simulator fell over (step ") == 1
    assert said.count("the simulator fell over (") == 1
    assert "probes.py:" in said


def test_a_stored_failure_detail_is_short_on_one_line_and_encodable():
    class Rude(Exception):
        def __str__(self):
            raise ValueError("no")

    def deep(level):
        if level:
            deep(level - 1)
        raise KeyError("x" * 10_000 + "\x1b[31m\nsecret \udc80")

    with pytest.raises(KeyError) as caught:
        deep(20)
    detail = shortened(describe_exception(caught.value))
    assert len(detail.message) == MESSAGE_LENGTH
    assert len(detail.frames) == FRAMES
    escaped = shortened(FailureDetail(message="a\x1b[31m\n  b\tsecret"), lambda text: text.replace("secret", "***"))
    assert escaped.message == "a [31m b ***"
    assert describe_exception(Rude()).message == "(its message cannot be read: ValueError)"
    describe_exception(caught.value).model_dump_json()


def test_credentials_that_the_bound_would_cut_are_concealed_first():
    text = "x" * (MESSAGE_LENGTH - 3) + "hunter2"
    assert "hun" not in shortened(FailureDetail(message=text), lambda said: said.replace("hunter2", "***")).message


def test_a_failure_without_an_exception_is_its_own_message():
    assert MemberFailure("nan_loss", 7, "norm: nan").describe() == FailureDetail(
        message="norm: nan", where="step 7 of the member"
    )
