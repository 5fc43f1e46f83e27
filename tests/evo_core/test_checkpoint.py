"""Checkpoint bytes: complete, canonical, and never executed."""

import json
import pickle
import resource
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from evo_core.agent.checkpoint import CheckpointError, from_bytes, load_agent, to_bytes
from tests.evo_core.test_mutation import founder


def test_an_agents_state_survives_serialization():
    _, spaces, state = founder()
    again = from_bytes(to_bytes(state), spaces)
    assert again.genome == state.genome
    assert again.optimizer_steps == state.optimizer_steps
    for part in ("weights", "exp_avg", "exp_avg_sq"):
        assert list(getattr(again, part)) == list(getattr(state, part))  # noise is drawn in this order
        for name, tensor in getattr(state, part).items():
            assert torch.equal(getattr(again, part)[name], tensor)
    assert to_bytes(again) == to_bytes(state)


def damaged():
    content = to_bytes(founder()[2])
    tensors = load(content)
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    missing = {name: tensor for name, tensor in tensors.items() if not name.endswith("critic.output.bias")}
    only_one = {name: tensor for name, tensor in tensors.items() if name != "exp_avg/critic.output.bias"}
    infinite = {**tensors, "weights/critic.output.bias": torch.tensor([np.inf])}
    yield "empty", b""
    yield "truncated", content[:-1]
    yield "half", content[: len(content) // 2]
    yield "header length", (2**63).to_bytes(8, "little") + content[8:]
    yield "pickle", pickle.dumps({"weights": 1})
    yield "torch zip", b"PK\x03\x04" + content
    yield "no metadata", save(tensors)
    yield "metadata", save(tensors, {"evolve": "{}"})
    yield "metadata is no json", save(tensors, {"evolve": "{"})
    yield "format", save(tensors, {"evolve": metadata["evolve"].replace('"format":1', '"format":2')})
    yield "one moment missing", save(only_one, metadata)
    yield "extra tensor", save({**tensors, "other/x": torch.zeros(1)}, metadata)
    yield "infinite", save(infinite, metadata)
    yield "missing tensors", save(missing, metadata)


@cache
def sound():
    """Return the tensors of a valid checkpoint and its metadata."""
    content = to_bytes(founder()[2])
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["evolve"]
    return load(content), metadata


def changed(**header):
    tensors, metadata = sound()
    return save(tensors, {"evolve": json.dumps({**json.loads(metadata), **header})})


def built(**architecture):
    genome = json.loads(sound()[1])["genome"]
    return changed(genome={**genome, "architecture": {**genome["architecture"], **architecture}})


def observing(space):
    return changed(spaces={"observation": space, "action": {"kind": "Discrete", "n": 2, "start": 0}})


def eight_bits():
    tensors, metadata = sound()
    return save(
        {**tensors, "weights/critic.output.bias": torch.zeros(1, dtype=torch.float8_e4m3fn)}, {"evolve": metadata}
    )


LAYER = {"kind": "dense", "nodes": 2**16}
BOX = {"kind": "Box", "dtype": "float32", "low": None, "high": None}
ABSURD = {
    "wide layers": lambda: built(actor_head=[LAYER] * 8),
    "wider than memory": lambda: built(actor_head=[{"kind": "dense", "nodes": 2**60}]),
    "a size beyond 64 bits": lambda: built(latent_dim=10**30),
    "negative": lambda: built(latent_dim=-1),
    "a hundred thousand layers": lambda: built(critic_head=[LAYER] * 100_000),
    "a nested encoder": lambda: built(encoder={"kind": "multi_input", "parts": {"a": {"kind": ["mlp"]}}}),
    "deep": lambda: save(sound()[0], {"evolve": "[" * 100_000}),
    "steps": lambda: changed(optimizer_steps=10**400),
    "a long header": lambda: save(sound()[0], {"evolve": " " * 2**24 + sound()[1]}),
    "a long header of nothing": lambda: (2**23).to_bytes(8, "little") + b"{}",
    "a large box": lambda: observing({**BOX, "shape": [2**20, 2**20]}),
    "a box of 64 bits": lambda: observing({**BOX, "shape": [2**63, 2**63]}),
    "a box of nothing": lambda: observing({**BOX, "shape": [-1]}),
    "a box of objects": lambda: observing({**BOX, "shape": [2], "dtype": "O"}),
    "bits": lambda: observing({"kind": "MultiBinary", "n": [2**30, 2**30]}),
    "one number of bits": lambda: observing({"kind": "MultiBinary", "n": 10**30}),
    "a large number": lambda: observing({"kind": "Discrete", "n": 10**30, "start": 0}),
    "many": lambda: observing({"kind": "MultiDiscrete", "nvec": [2**62] * 3, "start": [0] * 3, "dtype": "int64"}),
    "no space": lambda: observing({"kind": "Tuple", "spaces": 3}),
    "eight bits": eight_bits,
}
"""Checkpoints and exported files whose header asks for more than the file holds; made when they are needed."""


@pytest.mark.parametrize("what", ABSURD)
def test_a_header_with_absurd_sizes_is_refused_before_anything_is_allocated(what):
    content, spaces = ABSURD[what](), founder()[1]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError):
        load_agent(content, None if b'"spaces' in content or b'\\"spaces' in content else spaces)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "KiB"


@pytest.mark.parametrize(("what", "content"), [pytest.param(what, content, id=what) for what, content in damaged()])
def test_incomplete_checkpoint_bytes_are_refused(what, content):
    with pytest.raises(CheckpointError):
        from_bytes(content, founder()[1])
