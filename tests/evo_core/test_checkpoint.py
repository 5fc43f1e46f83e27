"""Checkpoint bytes: whole, canonical, and never executed."""

import json
import pickle
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from evo_core.agent.checkpoint import CheckpointError, from_bytes, load_agent, to_bytes
from tests.evo_core.test_mutation import founder


def test_an_agents_state_survives_its_bytes():
    _, spaces, state = founder()
    again = from_bytes(to_bytes(state), spaces)
    assert again.genome == state.genome
    assert again.optimizer_steps == state.optimizer_steps
    for part in ("weights", "exp_avg", "exp_avg_sq"):
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


def absurd():
    """Checkpoints and exported files whose header asks for more than the file holds."""
    content = to_bytes(founder()[2])
    tensors = load(content)
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["evolve"]
    header = json.loads(metadata)
    layer = {"kind": "dense", "nodes": 2**16}

    def changed(**architecture):
        genome = {**header["genome"], "architecture": {**header["genome"]["architecture"], **architecture}}
        return save(tensors, {"evolve": json.dumps({**header, "genome": genome})})

    def observing(space):
        described = {"observation": space, "action": {"kind": "Discrete", "n": 2, "start": 0}}
        return save(tensors, {"evolve": json.dumps({**header, "spaces": described})})

    box = {"kind": "Box", "dtype": "float32", "low": None, "high": None}
    yield "wide layers", changed(actor_head=[layer] * 8)
    yield "wider than memory", changed(actor_head=[{"kind": "dense", "nodes": 2**60}])
    yield "a size beyond 64 bits", changed(latent_dim=10**30)
    yield "negative", changed(latent_dim=-1)
    yield "a hundred thousand layers", changed(critic_head=[layer] * 100_000)
    yield "a nested encoder", changed(encoder={"kind": "multi_input", "parts": {"a": {"kind": ["mlp"]}}})
    yield "deep", save(tensors, {"evolve": "[" * 100_000})
    yield "steps", save(tensors, {"evolve": json.dumps({**header, "optimizer_steps": 10**400})})
    yield "a long header", save(tensors, {"evolve": " " * 2**24 + metadata})
    yield "a long header of nothing", (2**23).to_bytes(8, "little") + b"{}"
    yield "a large box", observing({**box, "shape": [2**20, 2**20]})
    yield "a box of 64 bits", observing({**box, "shape": [2**63, 2**63]})
    yield "a box of nothing", observing({**box, "shape": [-1]})
    yield "a box of objects", observing({**box, "shape": [2], "dtype": "O"})
    yield "bits", observing({"kind": "MultiBinary", "n": [2**30, 2**30]})
    yield "one number of bits", observing({"kind": "MultiBinary", "n": 10**30})
    yield "a large number", observing({"kind": "Discrete", "n": 10**30, "start": 0})
    yield "many", observing({"kind": "MultiDiscrete", "nvec": [2**62] * 3, "start": [0] * 3, "dtype": "int64"})
    yield "no space", observing({"kind": "Tuple", "spaces": 3})
    yield (
        "eight bits",
        save(
            {**tensors, "weights/critic.output.bias": torch.zeros(1, dtype=torch.float8_e4m3fn)}, {"evolve": metadata}
        ),
    )


@pytest.mark.parametrize(("what", "content"), [pytest.param(what, content, id=what) for what, content in absurd()])
def test_a_header_that_asks_for_absurd_sizes_is_refused_before_anything_is_allocated(what, content):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError):
        load_agent(content, None if b'"spaces' in content or b'\\"spaces' in content else founder()[1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "KiB"


@pytest.mark.parametrize(("what", "content"), [pytest.param(what, content, id=what) for what, content in damaged()])
def test_bytes_that_are_no_whole_checkpoint_are_refused(what, content):
    with pytest.raises(CheckpointError):
        from_bytes(content, founder()[1])
