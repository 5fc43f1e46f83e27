"""Checkpoint bytes: whole, canonical, and never executed."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from evo_core.checkpoint import CheckpointError, from_bytes, to_bytes
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


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_the_same_state_gives_the_same_bytes_in_every_process(hash_seed):
    code = (
        "from tests.evo_core.test_mutation import founder; from evo_core.checkpoint import to_bytes;"
        "from evo_core.canonical import sha256; print(sha256(to_bytes(founder()[2])))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    from evo_core.canonical import sha256

    assert there.stdout.strip() == sha256(to_bytes(founder()[2]))


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


@pytest.mark.parametrize(("what", "content"), list(damaged()), ids=[what for what, _ in damaged()])
def test_bytes_that_are_no_whole_checkpoint_are_refused(what, content):
    with pytest.raises(CheckpointError):
        from_bytes(content, founder()[1])
