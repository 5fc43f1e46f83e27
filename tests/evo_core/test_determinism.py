"""Environments that are deterministic under a seed, and those that are not."""

import pytest

from evo_core.envs.determinism import first_difference
from evo_core.records.failures import MemberFailure
from tests.conftest import make_config


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "Probe/Coin-v0"])
def test_a_sound_environment_repeats_itself(env):
    assert first_difference(make_config(env).env) is None


def test_unseeded_randomness_is_detected():
    assert first_difference(make_config("Probe/Unseeded-v0").env).startswith("step 0: observation ")


@pytest.mark.parametrize(("what", "said"), [("raise", "simulator fell over"), ("sys.exit", "SystemExit: goodbye")])
def test_an_environment_that_breaks_raises_a_member_failure(what, said):
    with pytest.raises(MemberFailure, match=said):
        first_difference(make_config("Probe/Faulty-v0", **{"env.kwargs": {"what": what}}).env)
