"""Checkpoint bytes: safetensors with one metadata entry of canonical JSON. Nothing is pickled, ever.

One entry only: safetensors writes several in an order that differs from process to process.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from evo_core.agent import Agent, AgentState
from evo_core.canonical import canonical_json
from evo_core.genome import Genome
from evo_core.networks.actor_critic import ActorCritic, Spaces
from evo_core.normalisation import sound_statistics
from evo_core.spaces import describe_space, read_space

METADATA = "evolve"
FORMAT = 1
_PARTS = ("weights", "exp_avg", "exp_avg_sq")
_STATISTICS = "statistics"


class CheckpointError(ValueError):
    """Bytes that are not a whole, finite checkpoint of this format."""


def to_bytes(state: AgentState, beside: Mapping[str, JsonValue] = MappingProxyType({})) -> bytes:
    """Serialise an agent, with whatever the header is to say `beside`; the same gives the same bytes everywhere."""
    tensors = {
        f"{part}/{name}": tensor.contiguous()
        for part in (*_PARTS, _STATISTICS)
        for name, tensor in getattr(state, part).items()
    }
    header: dict[str, JsonValue] = {
        **beside,
        "format": FORMAT,
        "genome": state.genome.model_dump(mode="json"),
        "optimizer_steps": state.optimizer_steps,
    }
    return save(tensors, {METADATA: canonical_json(header).decode()})


def from_bytes(content: bytes, spaces: Spaces) -> AgentState:
    """Parse checkpoint bytes of an agent for these spaces; CheckpointError says what is wrong with them."""
    try:
        tensors = load(content)
        header = _header(content)
        genome = Genome.model_validate(header["genome"])
        steps = header["optimizer_steps"]
        if header["format"] != FORMAT:
            raise CheckpointError(f"expected checkpoint format {FORMAT}, got {header['format']!r}")
        if type(steps) is not int or steps < 0:
            raise CheckpointError(f"expected a number of optimizer steps, got {steps!r}")
    except (SafetensorError, ValidationError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"not a checkpoint of this program: {error}") from error
    parts, statistics = {part: _named(tensors, part) for part in _PARTS}, _named(tensors, _STATISTICS)
    if len(tensors) != sum(map(len, parts.values())) + len(statistics):
        raise CheckpointError("expected weights and two moments, got other tensors beside them")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise CheckpointError("expected finite weights and moments, got NaN or infinity")
    network = ActorCritic(genome, spaces)
    expected = {name: (parameter.shape, parameter.dtype) for name, parameter in network.named_parameters()}
    for part, named in parts.items():
        if {name: (tensor.shape, tensor.dtype) for name, tensor in named.items()} != expected:
            raise CheckpointError(f"expected {part} with names, shapes and types of the genome's network, got others")
    if not sound_statistics(statistics, network.layout):
        raise CheckpointError(f"expected statistics of this environment's observations, got {sorted(statistics)}")
    return AgentState(genome, parts["weights"], parts["exp_avg"], parts["exp_avg_sq"], steps, statistics)


def to_portable_bytes(agent: Agent, card: Mapping[str, JsonValue]) -> bytes:
    """Serialise an agent with the spaces of its environment and a description, so that it can be loaded alone."""
    spaces = {"observation": agent.spaces.observation, "action": agent.spaces.action}
    described: dict[str, JsonValue] = {name: describe_space(space) for name, space in spaces.items()}
    return to_bytes(agent.state(), {"spaces": described, "card": dict(card)})


def load_agent(content: bytes, spaces: Spaces | None = None, device: torch.device | str = "cpu") -> Agent:
    """Load an agent from a checkpoint's bytes; CheckpointError says what is wrong with them.

    An exported file brings its spaces along, a run's checkpoint does not.
    """
    if spaces is None:
        try:
            described = _header(content)["spaces"]
            spaces = Spaces(read_space(described["observation"]), read_space(described["action"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"expected a file of `evolve export --format safetensors`, which brings its spaces along ({error!r}); "
                "load a run's checkpoint with inspect_environment(config).spaces"
            ) from error
    return Agent(from_bytes(content, spaces), spaces, device)


def _named(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}


def _header(content: bytes) -> dict[str, Any]:
    """Read our metadata of a safetensors file: an eight-byte length, then a JSON header."""
    size = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][METADATA])
    return header
