"""The contract of a plugin's encoder."""

import io
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from pydantic import JsonValue
from torch import nn

from evo_core.agent.agent import Agent, AgentState, initial_state
from evo_core.agent.checkpoint import from_bytes, to_bytes
from evo_core.agent.transfer import output_shift, transfer
from evo_core.config.parsing import parse_config
from evo_core.evolution.mutation import architecture_changes
from evo_core.export.policy import Policy
from evo_core.genome.encoders import PluginArchitecture
from evo_core.genome.genome import initial_genome
from evo_core.networks.actor_critic import ActorCritic
from evo_core.networks.encoders.plugin_checks import require_sound
from evo_core.networks.encoders.plugin_encoder import PluginEncoder
from evo_core.networks.inputs import Tensors
from evo_core.records.canonical import canonical_json
from evo_core.spaces.observations import Leaf, ObservationLayout
from evo_core.spaces.spaces import Spaces

GROWTH = 1e-5
"""Largest difference of an output that growing a network may make."""


class EncoderContract:
    """Tests that every encoder must pass.

    Set `plugin` to its class, `options` to its arguments, `shapes` to what it encodes: (D,) for vectors, (C, H, W) for
    images.
    """

    plugin: ClassVar[type]
    options: ClassVar[Mapping[str, JsonValue]] = {}
    shapes: ClassVar[tuple[tuple[int, ...], ...]] = ((4,),)

    def test_its_options_are_json(self) -> None:
        """They are recorded in the genome of every member."""
        architecture = self._architecture()
        assert PluginArchitecture.model_validate_json(canonical_json(architecture)) == architecture

    def test_it_is_sound(self) -> None:
        """It is finite, draws from torch's global generator alone, and computes every row by itself."""
        for shape in self.shapes:
            require_sound(self._architecture(), Leaf((), _space(shape)))

    def test_the_same_seed_draws_the_same_weights(self) -> None:
        """Another seed draws other weights, if there are any."""
        for shape in self.shapes:
            one, same, other = (self._state(shape, seed) for seed in (1, 1, 2))
            names = [name for name in one.weights if name.startswith("encoder.features.")]
            assert all(torch.equal(one.weights[name], same.weights[name]) for name in one.weights)
            if any(one.weights[name].ndim > 1 for name in names):
                assert not all(torch.equal(one.weights[name], other.weights[name]) for name in names)

    def test_it_is_built_without_numbers(self) -> None:
        """Checkpoints are checked against the shapes of a network on torch's device `meta`."""
        for shape in self.shapes:
            state = self._state(shape)
            with torch.device("meta"):
                network = ActorCritic(state.genome, _spaces(shape))
            found = {name: parameter.shape for name, parameter in network.named_parameters()}
            assert found == {name: weight.shape for name, weight in state.weights.items()}

    def test_a_checkpoint_holds_all_of_it(self) -> None:
        """An agent that is saved and loaded computes the same."""
        for shape in self.shapes:
            state, spaces = self._state(shape), _spaces(shape)
            loaded = from_bytes(to_bytes(state), spaces)
            rows = _observations(spaces)
            with torch.no_grad():
                before, after = (Agent(each, spaces).network(rows) for each in (state, loaded))
            assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))

    def test_its_gradients_are_those_of_autograd(self) -> None:
        """The backward pass of the whole encoder, whose hidden layers are differentiated in closed form."""
        for shape in self.shapes:
            state, spaces = self._state(shape), _spaces(shape)
            encoder = cast(PluginEncoder, Agent(state, spaces).network.encoder)
            rows = _observations(spaces)
            latent = encoder(rows)
            by_latent = torch.ones_like(latent)
            parameters = list(encoder.parameters())
            expected = torch.autograd.grad(latent, parameters, by_latent, allow_unused=True)
            with torch.no_grad():
                found, backward = encoder.vjp(rows)
                backward(by_latent.clone())
            torch.testing.assert_close(found, latent.detach())
            for parameter, gradient in zip(parameters, expected, strict=True):
                torch.testing.assert_close(
                    parameter.grad, torch.zeros_like(parameter) if gradient is None else gradient
                )

    def test_growth_preserves_what_the_network_computes(self) -> None:
        """Every architecture mutation that adds nodes or a layer moves its outputs by less than 1e-5."""
        for shape in self.shapes:
            state, spaces = self._state(shape), _spaces(shape)
            config = self._config(shape)
            grown = [
                change
                for change in architecture_changes(state.genome.architecture, config.network.bounds)
                if change.after > change.before and change.what.startswith("encoder")
            ]
            for change in grown:
                genome = state.genome.model_copy(update={"architecture": change.result})
                child = transfer(state, genome, spaces, np.random.default_rng(0))
                moved = output_shift(state, child, spaces, _observations(spaces))
                assert moved < GROWTH, f"{change.what} {change.before} → {change.after} moved the outputs by {moved:g}"

    def test_it_is_exported(self) -> None:
        """`evolve export --format torchscript` traces it."""
        for shape in self.shapes:
            agent = Agent(self._state(shape), _spaces(shape))
            policy, jit = Policy(agent), cast(Any, torch.jit)
            buffer, inputs = io.BytesIO(), policy.example()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about torch's plans for TorchScript
                jit.save(jit.trace(policy, inputs, check_trace=False), buffer)
                traced = jit.load(io.BytesIO(buffer.getvalue()))
            torch.testing.assert_close(traced(*inputs), policy(*inputs))

    def test_it_makes_a_module(self) -> None:
        """`features` returns a torch.nn.Module for every shape."""
        for shape in self.shapes:
            assert isinstance(self.plugin(**self.options).features(shape), nn.Module)

    def _name(self) -> str:
        return f"{self.plugin.__module__}:{self.plugin.__qualname__}"

    def _architecture(self) -> PluginArchitecture:
        config = self._config(self.shapes[0])
        return PluginArchitecture.initial(config.network, Leaf((), _space(self.shapes[0])))

    def _config(self, shape: tuple[int, ...]) -> Any:
        network = {"latent_dim": 16, "encoder": {"kind": self._name(), "options": dict(self.options)}}
        return parse_config({"env": {"id": "none"}, "training": {"max_steps": 10**6}, "network": network})

    def _state(self, shape: tuple[int, ...], seed: int = 0) -> AgentState:
        spaces = _spaces(shape)
        genome = initial_genome(self._config(shape), spaces.observation)
        return initial_state(genome, spaces, 1.0, np.random.default_rng(seed))


def _space(shape: tuple[int, ...]) -> Box:
    return Box(-np.inf, np.inf, shape)


def _spaces(shape: tuple[int, ...]) -> Spaces:
    return Spaces(_space(shape), Discrete(3))


def _observations(spaces: Spaces) -> Tensors:
    drawn = ObservationLayout(spaces.observation).draw(8, np.random.default_rng(3))
    return {name: torch.from_numpy(rows) for name, rows in drawn.items()}
