"""The backward pass of every part of a network, in closed form, against autograd."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from evo_core.config.network import ACTIVATION_NAMES
from evo_core.genome.architecture import Layer
from evo_core.networks.activations import ACTIVATIONS, GRADIENTS
from evo_core.networks.encoders.simba import Norm, SimbaBlock
from evo_core.networks.recurrence import sequences
from evo_core.networks.stack import Axis, Dense, Linear, Residual, Stack
from tests.evo_core.agents import KINDS, MORE, make_agent

sizes, seeds = st.integers(1, 9), st.integers(0, 2**32 - 1)
activations = st.sampled_from(ACTIVATION_NAMES)


def drawn(part, seed):
    """Give every parameter of a part random values, and a gradient of zeros to write to."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in part.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.grad = torch.full_like(parameter, torch.nan)  # whatever was there is replaced
    return part, generator


def compare(part, rows, inputs, seed):
    part, generator = drawn(part, seed)
    h = torch.randn((rows, inputs), generator=generator, dtype=torch.float64, requires_grad=True)
    outputs = part.forward(h)
    by_outputs = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(outputs, [h, *part.parameters()], by_outputs)
    with torch.no_grad():
        found, backward = part.vjp(h)
        by_inputs = backward(by_outputs)
    torch.testing.assert_close(found, outputs.detach(), rtol=0, atol=0)
    for gradient, want in zip([by_inputs, *(p.grad for p in part.parameters())], expected, strict=True):
        torch.testing.assert_close(gradient, want)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_derivatives_of_activations(name):
    z = torch.linspace(-4, 4, 257, dtype=torch.float64, requires_grad=True)
    y = ACTIVATIONS[name](z * 1)  # it may overwrite its argument
    grad = torch.linspace(1, 2, 257, dtype=torch.float64)
    (expected,) = torch.autograd.grad(y, z, grad)
    torch.testing.assert_close(GRADIENTS[name](grad, z.detach(), y.detach()), expected)


@given(sizes, sizes, sizes, activations, seeds)
def test_layers(rows, inputs, outputs, activation, seed):
    axes = Axis("in", inputs), Axis("out", outputs)
    compare(Linear(*axes, 1.0), rows, inputs, seed)
    compare(Dense(*axes, activation), rows, inputs, seed)
    compare(Residual(*axes, activation), rows, inputs, seed)


@given(sizes, st.integers(2, 9), sizes, activations, seeds)
def test_normalized_blocks(rows, width, inner, activation, seed):
    compare(Norm(Axis("stream", width)), rows, width, seed)
    compare(SimbaBlock(Axis("stream", width), Axis("inner", inner), activation), rows, width, seed)


layers = st.lists(st.builds(Layer, kind=st.sampled_from(["dense", "residual"]), nodes=sizes), max_size=3)


@given(sizes, sizes, layers, sizes, activations, seeds)
def test_stacks(rows, inputs, layers, outputs, activation, seed):
    stack = Stack("stack", Axis("in", inputs), tuple(layers), Axis("out", outputs), activation, 1.0)
    compare(stack, rows, inputs, seed)


@pytest.mark.parametrize("kind", [*KINDS, *MORE])
@settings(max_examples=3)
@given(seed=seeds)
def test_whole_networks(kind, seed):
    agent = make_agent(kind)[1]
    network, rng = agent.network, np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    leaves = {leaf.name: leaf.draw(12, rng) for leaf in network.layout.leaves}
    observations = agent.observe(leaves)
    memories = torch.randn((3, network.memory_size), generator=generator)
    whole = sequences(np.array([5, 4, 3]), memories) if network.memory_size else None
    outputs, values = network(observations, whole)
    by_outputs, by_values = (torch.randn(each.shape, generator=generator) for each in (outputs, values))
    weights = [p for name, p in network.named_parameters() if not name.startswith("distribution.")]
    expected = torch.autograd.grad((outputs, values), weights, (by_outputs, by_values), allow_unused=True)
    for parameter in network.parameters():
        parameter.grad.zero_()
    with torch.no_grad():
        found, found_values, backward = network.vjp(observations, whole)
        backward(by_outputs, by_values)
    torch.testing.assert_close((found, found_values), (outputs.detach(), values.detach()))
    for parameter, want in zip(weights, expected, strict=True):
        torch.testing.assert_close(parameter.grad, want, rtol=1e-4, atol=1e-5)
