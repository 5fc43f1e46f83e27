"""Checkpoint serialization: safetensors with one metadata entry of canonical JSON. Nothing is pickled.

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

from evo_core.agent.agent import Agent, AgentState
from evo_core.agent.normalization import are_statistics_complete
from evo_core.config.bounds import SAFE_INTEGER
from evo_core.genome.genome import Genome
from evo_core.networks.actor_critic import ActorCritic
from evo_core.plugins.loading import PluginError
from evo_core.records.canonical import canonical_json
from evo_core.spaces.serialization import describe_space, read_space
from evo_core.spaces.spaces import Spaces

METADATA = "evolve"
FORMAT = 1
MOST_HEADER = 2**24
"""Maximum size of a header in bytes. Written headers have a few thousand."""

_PARTS = ("weights", "exp_avg", "exp_avg_sq")
_STATISTICS = "statistics"
_WRONG = (
    SafetensorError,
    ValidationError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    RuntimeError,  # torch, of negative sizes and of sizes that overflow
)
"""Exceptions raised by the libraries that parse a header."""


class CheckpointError(ValueError):
    """Raised for bytes that are not a complete, finite checkpoint of this format."""


def to_bytes(state: AgentState, beside: Mapping[str, JsonValue] = MappingProxyType({})) -> bytes:
    """Serialize an agent, with additional header entries; equal inputs give equal bytes on every machine."""
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
        **({"lr": state.lr} if state.lr is not None else {}),
    }
    return save(tensors, {METADATA: canonical_json(header).decode()})


def from_bytes(content: bytes, spaces: Spaces) -> AgentState:
    """Parse checkpoint bytes of an agent for these spaces; CheckpointError says what is wrong with them.

    Memory is allocated for the bytes that exist, not for the sizes that a header claims.
    """
    try:
        header = _header(content)
        tensors = load(content)
        genome = Genome.model_validate(header["genome"])
        steps, lr = header["optimizer_steps"], header.get("lr")
        if header["format"] != FORMAT:
            raise CheckpointError(f"expected checkpoint format {FORMAT}, got {header['format']!r}")
        if type(steps) is not int or not 0 <= steps <= SAFE_INTEGER:
            raise CheckpointError(f"expected a number of optimizer steps, got {steps!r}")
        if lr is not None and not (type(lr) is float and 0 < lr <= 1):
            raise CheckpointError(f"expected a learning rate above 0, at most 1, got {lr!r}")
        with torch.device("meta"):  # shapes alone
            network = ActorCritic(genome, spaces)
    except CheckpointError:
        raise
    except PluginError as error:
        raise CheckpointError(f"its network cannot be built: {error}") from error
    except _WRONG as error:
        raise CheckpointError(f"not a checkpoint of this program: {error!s:.500}") from error
    parts, statistics = {part: _named(tensors, part) for part in _PARTS}, _named(tensors, _STATISTICS)
    if len(tensors) != sum(map(len, parts.values())) + len(statistics):
        raise CheckpointError("expected weights and two moments, got other tensors beside them")
    expected = {name: (parameter.shape, parameter.dtype) for name, parameter in network.named_parameters()}
    for part, named in parts.items():
        if {name: (tensor.shape, tensor.dtype) for name, tensor in named.items()} != expected:
            raise CheckpointError(f"expected {part} with names, shapes and types of the genome's network, got others")
    if not are_statistics_complete(statistics, network.layout):
        raise CheckpointError(f"expected statistics of this environment's observations, got {sorted(statistics)}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise CheckpointError("expected finite weights and moments, got NaN or infinity")
    weights, exp_avg, exp_avg_sq = ({name: parts[part][name] for name in expected} for part in _PARTS)
    return AgentState(genome, weights, exp_avg, exp_avg_sq, steps, statistics, lr)


def to_portable_bytes(agent: Agent, card: Mapping[str, JsonValue]) -> bytes:
    """Serialize an agent with the spaces of its environment and a description, so that it can be loaded alone."""
    spaces = {"observation": agent.spaces.observation, "action": agent.spaces.action}
    described: dict[str, JsonValue] = {name: describe_space(space) for name, space in spaces.items()}
    return to_bytes(agent.state(), {"spaces": described, "card": dict(card)})


def load_agent(content: bytes, spaces: Spaces | None = None, device: torch.device | str = "cpu") -> Agent:
    """Load an agent from a checkpoint's bytes; CheckpointError says what is wrong with them.

    An exported file contains its spaces, a checkpoint of a run does not.
    """
    if spaces is None:
        try:
            described = _header(content)["spaces"]
            spaces = Spaces(read_space(described["observation"]), read_space(described["action"]))
        except CheckpointError:
            raise
        except (*_WRONG, AssertionError, AttributeError, IndexError) as error:  # Gymnasium asserts
            raise CheckpointError(
                "expected a file of `evolve export --format safetensors`, which brings its spaces along "
                f"({error!r:.500}); "
                "load a run's checkpoint with inspect_environment(config).spaces"
            ) from error
    return Agent(from_bytes(content, spaces), spaces, device)


def _named(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}


def _header(content: bytes) -> dict[str, Any]:
    """Read our metadata of a safetensors file: an eight-byte length, then a JSON header."""
    size = int.from_bytes(content[:8], "little")
    if size > min(MOST_HEADER, len(content)):
        raise CheckpointError(f"expected a header of at most {min(MOST_HEADER, len(content))} bytes, got {size}")
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][METADATA])
    return header
