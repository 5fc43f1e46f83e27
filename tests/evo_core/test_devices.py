"""Device-dependent code as far as a CPU can test it: pinned memory, and random draws on the device (forced here)."""

import numpy as np
import pytest
import torch
from scipy import stats

from evo_core.agent import devices
from evo_core.agent.agent import Agent
from evo_core.local import train_on_policy
from evo_core.networks.distributions.categorical import gumbel
from evo_core.numerics.provenance import numerics
from tests.conftest import make_config

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def test_large_rows_go_to_cuda_through_page_locked_memory_and_nothing_else_does():
    assert devices.uses_pinned_memory(CUDA, 2**20)
    assert not devices.uses_pinned_memory(CUDA, 2**10)
    assert not devices.uses_pinned_memory(CPU, 2**20)
    assert devices.draws_on_device(CUDA)
    assert not devices.draws_on_device(CPU)


def test_rows_are_pinned_once_and_copied_without_waiting(monkeypatch):
    did = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: did.append("pin") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, **how: did.append((device, how)) or tensor)
    devices.to_device(np.zeros(2**18, np.float32), CUDA)
    assert did == ["pin", (CUDA, {"non_blocking": True})]


def test_on_the_cpu_rows_are_not_copied():
    rows = np.zeros(2**18, np.float32)
    assert devices.to_device(rows, CPU).data_ptr() == rows.ctypes.data


def test_gumbel_noise_has_its_distribution_and_follows_its_seed():
    def draw(seed):
        return gumbel((100, 50, 4), devices.torch_generator(np.random.default_rng(seed)))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.isfinite(draw(1)).all()
    assert stats.kstest(draw(1).flatten().numpy(), "gumbel_r").pvalue > 0.01


@pytest.fixture
def drawing_there(monkeypatch):
    """Make agents draw on their device, which is the CPU here."""
    monkeypatch.setattr("evo_core.agent.agent.draws_on_device", lambda device: True)


@pytest.mark.parametrize("overrides", [{}, {"algorithm.recurrent": True, "network.encoder.hidden_state_size": 16}])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_runs_that_draw_on_the_device_repeat_under_a_seed_and_differ_from_those_that_do_not(
    drawing_there, monkeypatch, env, overrides
):
    config = make_config(env, **{"training.max_steps": 768, **overrides})
    there = train_on_policy(config)
    assert there.head == train_on_policy(config).head
    assert all(member.failure is None for commit in there.commits for member in commit.members)
    monkeypatch.undo()
    assert there.head != train_on_policy(config).head


def test_an_agent_on_the_cpu_draws_with_numpy():
    config = make_config(**{"training.max_steps": 768})
    agent: Agent = train_on_policy(config).agent()
    distribution = agent.network.distribution
    here = agent.noise(np.random.default_rng(3), 5, 4)
    assert torch.equal(here, torch.from_numpy(distribution.noise(np.random.default_rng(3), 5, 4)))
    rng = np.random.default_rng(3)
    assert agent.shuffler(rng) is rng


def test_numerics_name_a_gpu_that_is_here_and_the_kind_of_one_that_is_elsewhere(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert numerics("cuda")["device"] == "cuda"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    assert numerics("cuda:0")["device"] == "cuda: Tesla T4"
