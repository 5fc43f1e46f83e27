"""Mutations and the transfer of weights, over random lineages."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_core.agent.agent import Agent, AgentState, initial_state
from evo_core.agent.checkpoint import to_bytes
from evo_core.agent.transfer import output_shift, perturb, transfer
from evo_core.evolution.mutation import (
    OPERATORS,
    architecture_changes,
    mutate,
    mutate_activation,
    mutate_architecture,
    mutate_parameters,
    mutate_rl_hp,
)
from evo_core.genome.genome import initial_genome
from evo_core.networks.activations import ACTIVATIONS
from evo_core.networks.actor_critic import ActorCritic
from evo_core.records.canonical import canonical_json
from evo_core.spaces.spaces import Spaces
from evo_core.training import probe_observations
from tests.conftest import make_config

ENVS = ("CartPole-v1", "Probe/Grid4-v0", "Pendulum-v1")
envs, seeds, shared = st.sampled_from(ENVS), st.integers(0, 2**32), st.booleans()


def founder(env="CartPole-v1", seed=0, share_encoder=True, hidden=(16, 24)):
    """A configuration, its spaces, and a state whose moments are not zero."""
    config = make_config(
        env,
        **{
            "network.share_encoder": share_encoder,
            "network.encoder.hidden_size": list(hidden),
            "search.gamma": {"min": 0.9, "max": 0.999, "scale": "log1m"},
        },
    )
    made = gym.make(env)
    spaces = Spaces(made.observation_space, made.action_space)
    made.close()
    rng = np.random.default_rng(seed)
    state = initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng)
    return config, spaces, trained_like(state, rng)


def trained_like(state, rng):
    """Give every weight and moment a value of its own, as training would."""

    def noise(tensors, scale):
        draw = {
            name: torch.from_numpy(rng.normal(0, scale, tuple(t.shape)).astype(np.float32))
            for name, t in tensors.items()
        }
        return {name: tensor + draw[name] for name, tensor in tensors.items()}

    squares = {name: tensor.abs() for name, tensor in noise(state.exp_avg_sq, 1.0).items()}
    return AgentState(state.genome, noise(state.weights, 0.1), noise(state.exp_avg, 1.0), squares, 100)


def within(architecture, bounds):
    parts = (architecture.encoder.layers, architecture.actor_head, architecture.critic_head)
    return bounds.latent_dim[0] <= architecture.latent_dim <= bounds.latent_dim[1] and all(
        bounds.layers[0] <= len(part) <= bounds.layers[1]
        and all(bounds.nodes[0] <= layer.nodes <= bounds.nodes[1] for layer in part)
        for part in parts
    )


@settings(max_examples=15)
@given(envs, seeds, shared)
def test_a_long_line_of_mutations_keeps_bounds_and_valid_networks(env, seed, share_encoder):
    config, spaces, state = founder(env, seed, share_encoder)
    rng = np.random.default_rng(seed)
    for _ in range(12):
        genome, mutation = mutate(state.genome, config, rng)
        state = transfer(state, genome, spaces, rng)
        if mutation.kind == "parameters":
            state = perturb(state, config.mutation.mutation_sd, rng)
        assert within(genome.architecture, config.network.bounds)
        assert all(config.search[k].min <= v <= config.search[k].max for k, v in genome.hyperparameters.items())
        network = ActorCritic(genome, spaces)
        expected = {name: parameter.shape for name, parameter in network.named_parameters()}
        for part in (state.weights, state.exp_avg, state.exp_avg_sq):
            assert {name: tensor.shape for name, tensor in part.items()} == expected
        agent = Agent(state, spaces)
        outputs, values = agent.network(probe_observations(spaces, rng))
        assert torch.isfinite(outputs).all()
        assert torch.isfinite(values).all()


@settings(max_examples=25)
@given(envs, seeds)
def test_the_optimizer_covers_exactly_the_networks_parameters_after_every_mutation(env, seed):
    config, spaces, state = founder(env, seed)
    rng = np.random.default_rng(seed)
    for operator in OPERATORS.values():
        genome, _ = operator(state.genome, config, rng)
        agent = Agent(transfer(state, genome, spaces, rng), spaces)
        for covered in (agent.gradients, agent.exp_avg, agent.exp_avg_sq):
            assert covered.shape == agent.parameters.shape
        assert sum(p.numel() for p in agent.network.parameters()) == agent.parameters.numel()
        before = [p.detach().clone() for p in agent.network.parameters()]
        agent.gradients.fill_(1.0)
        agent.descend(lr=0.1, max_grad_norm=1e9)
        assert all(bool((p != old).all()) for p, old in zip(agent.network.parameters(), before, strict=True))


def test_a_child_of_the_same_architecture_has_its_parents_weights_and_the_draws_of_any_other():
    _, spaces, state = founder("CartPole-v1", 0)
    same, other = np.random.default_rng(1), np.random.default_rng(1)
    child = transfer(state, state.genome.model_copy(update={"hyperparameters": {"lr": 2e-3}}), spaces, same)
    for part in ("weights", "exp_avg", "exp_avg_sq"):
        before, after = getattr(state, part), getattr(child, part)
        assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert child.genome.hyperparameters == {"lr": 2e-3}
    assert output_shift(state, child, spaces, probe_observations(spaces, np.random.default_rng(0))) == 0.0
    changed = state.genome.model_copy(update={"activation": "Tanh"})
    tanh = transfer(state, changed, spaces, np.random.default_rng(1))
    assert output_shift(state, tanh, spaces, probe_observations(spaces, np.random.default_rng(0))) > 0.0
    wider = state.genome.architecture.model_copy(update={"latent_dim": state.genome.architecture.latent_dim + 8})
    transfer(state, state.genome.model_copy(update={"architecture": wider}), spaces, other)
    assert same.random() == other.random()


@settings(max_examples=20)
@given(envs, seeds, shared, st.sampled_from(sorted(ACTIVATIONS)))
def test_every_growth_preserves_the_function(env, seed, share_encoder, activation):
    config, spaces, state = founder(env, seed, share_encoder)
    state = transfer(
        state, state.genome.model_copy(update={"activation": activation}), spaces, np.random.default_rng(0)
    )
    rng, grown = np.random.default_rng(seed), 0
    for _ in range(8):
        changes = architecture_changes(state.genome.architecture, config.network.bounds)
        growth = [change for change in changes if change.after > change.before]
        if not growth:
            break
        change = growth[rng.integers(len(growth))]
        child = transfer(state, state.genome.model_copy(update={"architecture": change.result}), spaces, rng)
        assert output_shift(state, child, spaces, probe_observations(spaces, rng)) < 1e-5, change
        state, grown = trained_like(child, rng) if rng.random() < 0.5 else child, grown + 1
    assert grown > 0


@pytest.mark.parametrize(
    "what", ["encoder.0.nodes", "encoder.layers", "latent_dim", "actor_head.0.nodes", "critic_head.layers"]
)
def test_new_units_take_part_in_learning(what):
    config, spaces, state = founder()
    changes = architecture_changes(state.genome.architecture, config.network.bounds)
    change = next(c for c in changes if c.what == what and c.after > c.before)
    genome = state.genome.model_copy(update={"architecture": change.result})
    child = transfer(state, genome, spaces, np.random.default_rng(0))
    agent = Agent(child, spaces)
    observations = probe_observations(spaces, np.random.default_rng(0))
    for _ in range(2):  # weights into a new unit learn once those out of it have left zero
        agent.gradients.zero_()
        outputs, values = agent.network(observations)
        (outputs.square().sum() + values.square().sum()).backward()
        agent.descend(lr=1e-3, max_grad_norm=0.5)
    for name, parameter in agent.network.named_parameters():
        if name not in state.weights or state.weights[name].shape != parameter.shape:
            assert parameter.grad.abs().sum() > 0, name


def test_growth_moves_adams_moments_to_the_units_they_belong_to():
    config, spaces, state = founder()
    changes = architecture_changes(state.genome.architecture, config.network.bounds)
    change = next(c for c in changes if c.what == "encoder.1.nodes" and c.after == 40)
    child = transfer(
        state, state.genome.model_copy(update={"architecture": change.result}), spaces, np.random.default_rng(0)
    )
    into, out = "encoder.stack.hidden.1.weight", "encoder.stack.output.weight"
    for part in ("exp_avg", "exp_avg_sq"):
        old, new = getattr(state, part), getattr(child, part)
        torch.testing.assert_close(new[into][:24], old[into], rtol=0, atol=0)
        torch.testing.assert_close(new[out][:, :24], old[out], rtol=0, atol=0)
        assert new[into][24:].abs().sum() == new[out][:, 24:].abs().sum() == 0
    assert child.optimizer_steps == state.optimizer_steps


def test_removal_keeps_the_most_important_units_with_their_moments():
    config, spaces, state = founder()
    into, out = "encoder.stack.hidden.1.weight", "encoder.stack.output.weight"
    dull = [0, 3, 5, 8, 13, 20, 21, 23]  # make eight of 24 units unimportant
    state.weights[into][dull] *= 1e-3
    changes = architecture_changes(state.genome.architecture, config.network.bounds)
    change = next(c for c in changes if c.what == "encoder.1.nodes" and c.after == 8)
    keep16 = change.result.model_copy(
        update={
            "encoder": change.result.encoder.model_copy(
                update={
                    "layers": (
                        state.genome.architecture.encoder.layers[0],
                        change.result.encoder.layers[1].model_copy(update={"nodes": 16}),
                    )
                }
            )
        }
    )
    child = transfer(state, state.genome.model_copy(update={"architecture": keep16}), spaces, np.random.default_rng(0))
    kept = [unit for unit in range(24) if unit not in dull]
    torch.testing.assert_close(child.weights[into], state.weights[into][kept], rtol=0, atol=0)
    torch.testing.assert_close(child.exp_avg[out], state.exp_avg[out][:, kept], rtol=0, atol=0)
    shift = output_shift(state, child, spaces, probe_observations(spaces, np.random.default_rng(0)))
    assert 0 < shift < 0.1


@given(envs, seeds)
@settings(max_examples=30)
def test_the_parent_is_untouched(env, seed):
    config, spaces, state = founder(env, seed)
    genome, content = canonical_json(state.genome), to_bytes(state)
    rng = np.random.default_rng(seed)
    for operator in OPERATORS.values():
        child, _ = operator(state.genome, config, rng)
        grandchild = perturb(transfer(state, child, spaces, rng), 0.5, rng)
        for tensor in grandchild.weights.values():
            tensor.fill_(7.0)
    assert canonical_json(state.genome) == genome
    assert to_bytes(state) == content


@given(envs, seeds)
@settings(max_examples=30)
def test_the_same_seed_makes_the_same_child(env, seed):
    config, spaces, state = founder(env, seed)

    def child():
        rng = np.random.default_rng(seed)
        genome, mutation = mutate(state.genome, config, rng)
        return canonical_json(mutation), to_bytes(perturb(transfer(state, genome, spaces, rng), 0.1, rng))

    assert child() == child()


def test_parameter_noise_touches_a_tenth_of_the_policys_matrices_in_proportion_to_their_size():
    _config, _spaces, state = founder(hidden=(64, 64))
    child = perturb(state, 0.1, np.random.default_rng(0))
    for name, weight in state.weights.items():
        moved = child.weights[name] - weight
        if weight.ndim < 2 or name.startswith("critic"):
            assert moved.abs().sum() == 0
        elif weight.numel() > 1000:
            assert float((moved != 0).float().mean()) == pytest.approx(0.1, abs=0.03)
            rms = float(weight.square().mean().sqrt())
            assert float(moved[moved != 0].std()) == pytest.approx(0.1 * rms, rel=0.2)
    assert child.exp_avg is state.exp_avg


def test_kinds_are_drawn_by_their_weights():
    config, _, state = founder()
    rng = np.random.default_rng(0)
    kinds = [mutate(state.genome, config, rng)[1].kind for _ in range(3000)]
    weights = {"none": 0.2, "architecture": 0.2, "parameters": 0.2, "activation": 0.2, "rl_hp": 0.2}
    for kind, weight in weights.items():
        assert kinds.count(kind) / 3000 == pytest.approx(weight, abs=0.03)


def test_a_layer_is_changed_with_the_probability_asked_for_and_grows_as_often_as_it_shrinks():
    config, _, state = founder()
    rng = np.random.default_rng(0)
    mutations = [mutate_architecture(state.genome, config, rng)[1] for _ in range(3000)]
    layers = [m for m in mutations if m.what.endswith(".layers")]
    assert len(layers) / 3000 == pytest.approx(0.2, abs=0.03)
    encoder = [m.after > m.before for m in mutations if m.what == "encoder.1.nodes"]
    assert np.mean(encoder) == pytest.approx(0.5, abs=0.06)


def test_records_say_what_changed():
    config, _, state = founder()
    rng = np.random.default_rng(0)
    genome, mutation = mutate_rl_hp(state.genome, config, rng)
    assert genome.hyperparameters[mutation.what] == mutation.after != mutation.before
    genome, mutation = mutate_activation(state.genome, config, rng)
    assert (mutation.before, mutation.after) == ("ReLU", genome.activation)
    assert mutation.after != "ReLU"
    genome, mutation = mutate_parameters(state.genome, config, rng)
    assert genome == state.genome
    assert mutation.kind == "parameters"


def test_a_kind_that_cannot_apply_is_recorded_as_none():
    fixed = {"layers": [1, 1], "nodes": [16, 16], "latent_dim": [16, 16]}
    config = make_config(**{"network.bounds": fixed, "search": {}})
    genome = initial_genome(config, gym.make("CartPole-v1").observation_space)
    rng = np.random.default_rng(0)
    assert mutate_architecture(genome, config, rng)[1].kind == "none"
    assert mutate_rl_hp(genome, config, rng)[1].kind == "none"
