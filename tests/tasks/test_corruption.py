"""Ten thousand damaged checkpoints: each is detected with a typed error, none runs code, none hangs."""

import json
import pickle
import random
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from evo_core.agent.checkpoint import CheckpointError, from_bytes, to_bytes
from evo_core.records.canonical import sha256
from evo_core.records.chain import BlobRef
from tasks.runs import layout
from tasks.runs.run_store import RunStore
from tasks.store import CorruptError, open_store
from tasks.store import memory_backend as memory
from tasks.store import store as base
from tests.evo_core.test_mutation import founder

CANARY = Path("/tmp/evolve-tests-canary")
COUNT = 10_000
DAMAGES = ("bits", "bytes", "cut", "longer", "header length", "header", "extra", "missing", "not finite", "pickle")
HASHED = ("bits", "bytes", "cut", "longer", "header length")
"""Damage on the way or on the disk: the reference still has the old hash. The others come with a hash that fits."""


class Poison:
    """Writes the canary when it is unpickled."""

    def __reduce__(self):
        return Path.write_text, (CANARY, "code was run")


def damage(kind, content, tensors, metadata, rng):
    """Damage a checkpoint in one of the ways."""
    changed = bytearray(content)
    if kind == "bits":
        for _ in range(rng.randint(1, 8)):
            bit = rng.randrange(8 * len(changed))
            changed[bit // 8] ^= 1 << bit % 8
    elif kind == "bytes":
        start = rng.randrange(len(changed))
        changed[start : start + rng.randint(1, 64)] = rng.randbytes(rng.randint(0, 64))
    elif kind == "cut":
        del changed[rng.randrange(len(changed)) :]
    elif kind == "longer":
        changed += rng.randbytes(rng.randint(1, 4096))
    elif kind == "header length":
        changed[:8] = struct.pack("<Q", rng.choice([0, 1, 2**63, rng.randrange(2**16), rng.randrange(2**40)]))
    elif kind == "header":
        return bytes(_other_header(content, rng))
    elif kind == "extra":
        where = rng.choice(["weights/", "exp_avg/", "exp_avg_sq/", ""])
        return save({**tensors, f"{where}x{rng.random()}": torch.zeros(rng.randint(0, 9))}, metadata)
    elif kind == "missing":
        gone = rng.sample(sorted(tensors), rng.randint(1, len(tensors)))
        return save({name: tensor for name, tensor in tensors.items() if name not in gone}, metadata)
    elif kind == "not finite":
        name = rng.choice(sorted(tensors))
        broken = tensors[name].clone()
        broken.view(-1)[rng.randrange(broken.numel())] = rng.choice([float("nan"), float("inf"), float("-inf")])
        return save({**tensors, name: broken}, metadata)
    elif kind == "pickle":
        poison = pickle.dumps(Poison())
        return rng.choice(
            [poison, content[:8] + poison, poison + content, save(tensors, {"evolve": poison.decode("latin-1")})]
        )
    return bytes(changed)


def _other_header(content, rng):
    """Change shapes, types or places in the header, whose length fits again."""
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    entry = header[rng.choice([name for name in header if name != "__metadata__"])]
    what = rng.choice(["dtype", "shape", "data_offsets", "metadata"])
    if what == "dtype":
        entry["dtype"] = rng.choice(["F64", "I32", "BOOL", "BF16", "NONSENSE"])
    elif what == "shape":
        entry["shape"] = rng.choice([[], [0], [-1], [2**40], [*entry["shape"], 2], "x"])
    elif what == "data_offsets":
        entry["data_offsets"] = [rng.randrange(-5, 2**33), rng.randrange(2**33)]
    else:
        evolve = json.loads(header["__metadata__"]["evolve"])
        evolve[rng.choice(list(evolve))] = rng.choice([None, "x", -1.5, [], {"a": 1}])
        header["__metadata__"]["evolve"] = json.dumps(evolve)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(base, "PAUSE_S", 0.0)
    memory._stores.pop("memory://corruption", None)
    return RunStore(open_store("memory://corruption"), "run")


@pytest.mark.slow
def test_every_damaged_checkpoint_is_detected_and_none_runs_code(run):
    CANARY.unlink(missing_ok=True)
    _, spaces, state = founder()
    content = to_bytes(state)
    tensors, original = load(content), BlobRef(sha256=sha256(content), size=len(content))
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    rng, slowest, detected = random.Random(7), 0.0, 0
    for number in range(COUNT):
        kind = DAMAGES[number % len(DAMAGES)]
        damaged = damage(kind, content, tensors, metadata, rng)
        if damaged == content:
            continue
        reference = original if kind in HASHED else BlobRef(sha256=sha256(damaged), size=len(damaged))
        run.store.replace(run.key(layout.blob(reference.sha256)), damaged)
        began = time.monotonic()
        with pytest.raises((CorruptError, CheckpointError)):
            pytest.fail(f"{kind}: not detected: {from_bytes(run.blob(reference), spaces)}")
        with suppress(CheckpointError):  # without the hash a changed weight is not seen; but nothing else is raised
            from_bytes(damaged, spaces)
        slowest, detected = max(slowest, time.monotonic() - began), detected + 1
    assert detected > COUNT * 0.99
    assert slowest < 5
    assert not CANARY.exists()
    pickle.loads(pickle.dumps(Poison()))  # the poison is real
    assert CANARY.exists()
    CANARY.unlink()
