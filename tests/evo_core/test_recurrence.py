"""Recurrent networks: sequences against single steps, pieces of episodes, and where memory is kept."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_core.agent.agent import Agent, initial_state
from evo_core.agent.transfer import transfer
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import inspect_environment
from evo_core.evolution.mutation import architecture_changes
from evo_core.genome.genome import initial_genome
from evo_core.networks.distributions.distribution import masked
from evo_core.networks.recurrence import sequences
from evo_core.ppo.learn import learn, prepare
from evo_core.ppo.rollout import collect_rollouts
from evo_core.ppo.sequences import Minibatch, cut, minibatches
from evo_core.spaces.observations import ObservationLayout
from tests.conftest import make_config
from tests.evo_core.test_mutation import trained_like

RECURRENT = {"algorithm.recurrent": True, "network.encoder.hidden_state_size": 16, "network.encoder.max_seq_len": 8}
CELLS = pytest.mark.parametrize("cell", ["lstm", "gru"])
SHARED = pytest.mark.parametrize("share_encoder", [True, False])


def make_agent(config, seed=0):
    spaces = inspect_environment(config).spaces
    rng = np.random.default_rng(seed)
    state = initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng)
    return Agent(trained_like(state, rng), spaces), spaces


def recurrent(env="CartPole-v1", **overrides):
    return make_config(env, **{**RECURRENT, **overrides})


@st.composite
def rollouts(draw):
    steps, envs = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    terminated, truncated = rng.random((steps, envs)) < 0.1, rng.random((steps, envs)) < 0.1
    valid = np.ones((steps, envs), np.bool_)
    if draw(st.booleans()):  # as with NEXT_STEP autoreset: a reset follows every end
        valid[1:] = ~(terminated | truncated)[:-1]
    return terminated & valid, truncated & valid, valid


@given(rollouts(), st.integers(1, 12), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=200)
def test_every_valid_step_is_in_one_minibatch_once_in_pieces_of_one_episode(rollout, length, batch_size, seed):
    terminated, truncated, valid = rollout
    if not valid.any():
        return
    pieces = cut(terminated, truncated, valid, length)
    envs = valid.shape[1]
    assert sorted(pieces.rows.tolist()) == np.flatnonzero(valid).tolist()
    assert pieces.lengths.min() >= 1
    assert pieces.lengths.max() <= length
    ended = (terminated | truncated).reshape(-1)
    lasts = dict(zip(pieces.rows[np.cumsum(pieces.lengths) - 1].tolist(), pieces.lengths.tolist(), strict=True))
    begins = []
    for start, count in zip(pieces.starts, pieces.lengths, strict=True):
        rows = pieces.rows[start : start + count]
        assert (np.diff(rows) == envs).all()  # one environment, step after step
        assert not ended[rows[:-1]].any()  # of one episode
        begins.append(int(rows[0]))
        before = rows[0] - envs
        if before >= 0 and not ended[before] and valid.reshape(-1)[before]:  # cut in mid-episode: at full length only
            assert lasts[before] == length

    column = torch.from_numpy(pieces.rows).float()
    data = Minibatch({"o": column.unsqueeze(1)}, *([column] * 5))
    memory = torch.tensor(begins, dtype=torch.float32).unsqueeze(1)
    seen = []
    for batch in minibatches(data, pieces, memory, batch_size, np.random.default_rng(seed)):
        seen += batch.returns.tolist()
        assert len(batch.returns) <= max(batch_size, length)
        whole = batch.sequences
        laid = batch.returns[whole.padded].view(whole.length, -1)
        assert laid[0].tolist() == whole.memory.flatten().tolist()  # each piece begins with its own memory
        assert laid.flatten()[whole.places].tolist() == batch.returns.tolist()
    assert sorted(seen) == sorted(column.tolist())


@CELLS
@SHARED
def test_sequences_give_what_steps_give(cell, share_encoder):
    config = recurrent(**{"network.encoder.cell": cell, "network.share_encoder": share_encoder})
    agent, _ = make_agent(config)
    lengths = np.array([5, 1, 8, 3])
    rows = torch.randn(17, 4, generator=torch.Generator().manual_seed(0))
    memory = torch.randn(4, agent.network.memory_size, generator=torch.Generator().manual_seed(1)) * 0.5
    with torch.no_grad():
        outputs, values = agent.network({"observation": rows}, sequences(lengths, memory))
        start = 0
        for piece, length in enumerate(lengths):
            remembered = memory[piece : piece + 1]
            for step in range(start, start + length):
                row = {"observation": rows[step : step + 1]}
                torch.testing.assert_close(agent.network.value(row, remembered)[0], values[step])
                one, remembered = agent.network.policy(row, remembered)
                torch.testing.assert_close(one[0], outputs[step])
            start += length


def test_memory_is_carried_across_rollouts_and_gone_at_the_end_of_an_episode():
    config = recurrent("Probe/DelayedReward-v0")  # episodes of five steps
    agent, _ = make_agent(config)
    envs = make_vect_envs(config.env, [1, 2, 3, 4])
    rng = np.random.default_rng(0)
    first, second = (collect_rollouts(agent, envs, 7, rng) for _ in range(2))
    fresh = (first.memories == 0).all(-1).all(-1).tolist() + (second.memories == 0).all(-1).all(-1).tolist()
    assert [t for t, zero in enumerate(fresh) if zero] == [0, 5, 10]
    torch.testing.assert_close(second.memories[0], first.last_memory, rtol=0, atol=0)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "Taxi-v4"])
@SHARED
def test_learning_starts_from_the_policy_that_acted(env, share_encoder):
    """Log-probabilities recomputed over sequences are those of the steps that were taken, so every ratio is one."""
    config = recurrent(env, **{"network.share_encoder": share_encoder, "evaluation.max_steps": 9})
    agent, _ = make_agent(config)
    envs = make_vect_envs(config.env, [1, 2, 3, 4])
    rng = np.random.default_rng(0)
    collect_rollouts(agent, envs, 5, rng)
    rollout = collect_rollouts(agent, envs, 40, rng)
    data, pieces, memories = prepare(agent, rollout, config.algorithm)
    for batch in minibatches(data, pieces, memories, 64, rng):
        with torch.no_grad():
            outputs, values = agent.network(batch.observations, batch.sequences)
        terms = agent.network.distribution.evaluate(masked(outputs, batch.masks), batch.actions)
        torch.testing.assert_close(terms.log_probs, batch.log_probs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values, batch.values, rtol=1e-4, atol=1e-4)


@CELLS
def test_an_update_through_time_is_that_of_torchs_own_module(cell):
    config = recurrent(**{"network.encoder.cell": cell})
    agent, _ = make_agent(config)
    encoder = agent.network.encoder
    block = encoder.blocks[0].cell
    module = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(4, 16)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(module, f"{name}_l0").data.copy_(
            getattr(block, name).detach().reshape(getattr(module, f"{name}_l0").shape)
        )
    lengths = np.array([8, 8, 3])
    rows = torch.randn(19, 4, generator=torch.Generator().manual_seed(0))
    agent.gradients.zero_()
    agent.network({"observation": rows}, sequences(lengths, agent.no_memory(3)))[0].square().sum().backward()
    total = 0
    for start, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
        h, _ = module(rows[start : start + length].unsqueeze(1))
        latent = encoder.activation(
            torch.nn.functional.linear(h.squeeze(1), encoder.output.weight.detach(), encoder.output.bias.detach())
        )
        total = total + agent.network.actor(latent).square().sum()
    own = block.weight_hh.grad.clone()
    total.backward()
    torch.testing.assert_close(own.reshape(-1, 16), module.weight_hh_l0.grad, rtol=1e-4, atol=1e-5)


@CELLS
@SHARED
@pytest.mark.parametrize(
    ("env", "grown"),
    [
        ("CartPole-v1", {"units", "layers", "latent_dim"}),
        ("Probe/BrightPixel-v0", {"units", "layers", "latent_dim", "channels", "kernel"}),
        ("Probe/Liar-v0", {"units", "layers", "latent_dim", "nodes"}),
    ],
)
def test_growth_changes_no_output_over_fifty_steps(env, grown, cell, share_encoder):
    size = {"network.encoder.stride_size": [1, 1]} if "Pixel" in env else {}
    config = recurrent(env, **{"network.encoder.cell": cell, "network.share_encoder": share_encoder, **size})
    agent, spaces = make_agent(config)
    state = agent.state()
    rng = np.random.default_rng(0)
    changes = [c for c in architecture_changes(state.genome.architecture, config.network.bounds) if c.after > c.before]
    assert not {word for word in grown if not any(word in c.what for c in changes)}
    rows = {name: torch.from_numpy(leaf) for name, leaf in ObservationLayout(spaces.observation).draw(50, rng).items()}
    for change in changes:
        child = Agent(
            transfer(state, state.genome.model_copy(update={"architecture": change.result}), spaces, rng), spaces
        )
        with torch.no_grad():
            before = agent.network(rows, sequences(np.array([50]), agent.no_memory(1)))
            after = child.network(rows, sequences(np.array([50]), child.no_memory(1)))
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(new, old, rtol=0, atol=1e-5)


def test_learning_moves_every_weight():
    config = recurrent(**{"network.share_encoder": False, "network.encoder.num_layers": 2})
    agent, _ = make_agent(config)
    envs = make_vect_envs(config.env, [1, 2, 3, 4])
    before = {name: p.detach().clone() for name, p in agent.network.named_parameters()}
    learn(
        agent, collect_rollouts(agent, envs, 64, np.random.default_rng(0)), config.algorithm, np.random.default_rng(0)
    )
    assert [n for n, p in agent.network.named_parameters() if torch.equal(p, before[n])] == []
