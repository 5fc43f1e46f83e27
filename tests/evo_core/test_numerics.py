import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from evo_core.config.sections import EnvConfig
from evo_core.numerics.fingerprint import differing_groups, fingerprint, primitives
from evo_core.numerics.instructions import _without_fma, is_portable, portable_environment
from evo_core.numerics.provenance import numerics, numerics_differences
from evo_core.numerics.roots import sqrt
from tests.services import missing

CODE = """
import json
import numpy as np, torch
from evo_core.numerics.provenance import numerics
from evo_core.numerics.roots import sqrt
found = numerics("cpu")
values = np.random.default_rng(0).random(65_536, dtype=np.float32)
wrong = int((sqrt(torch.from_numpy(values)).numpy() != np.sqrt(values.astype(np.float64)).astype(np.float32)).sum())
print(json.dumps([found, wrong]))
"""


@pytest.fixture(scope="module")
def portable() -> tuple[dict[str, str], int]:
    """Return the numerics of a process with portable numerics, and how many of its square roots are wrong."""
    environment = {**os.environ, **portable_environment(os.environ)}
    command = [sys.executable, "-W", "error", "-c", CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, wrong = json.loads(done.stdout)
    return found, wrong


def test_square_roots_are_correctly_rounded():
    values = np.random.default_rng(0).random(65_536, dtype=np.float32)
    exact = np.sqrt(values.astype(np.float64)).astype(np.float32)
    assert np.array_equal(sqrt(torch.from_numpy(values)).numpy(), exact)
    assert sqrt(torch.tensor(2.0)).shape == () and sqrt(torch.tensor(2.0)).dtype == torch.float32


def test_learning_and_mutation_take_no_root_of_torch(monkeypatch, portable):
    def refuse(*arguments: object) -> None:
        raise AssertionError("torch hands this to MKL, which rounds it by the processor's maker")

    for name in ("sqrt", "sqrt_", "rsqrt", "pow", "__pow__", "std"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    from evo_core.local import train_on_policy
    from tests.conftest import make_config

    weights = {"mutation.no_mutation": 0.0, "mutation.activation": 0.0, "mutation.rl_hp": 0.0, "seed": 3}
    kinds = {
        member.offspring.mutation.kind
        for commit in train_on_policy(make_config(**weights)).commits
        for member in commit.members
    }
    assert {"architecture", "parameters"} <= kinds
    assert portable[1] == 0  # where torch's own are wrong in a fifth of all cases


def test_the_fingerprint_is_the_same_again_and_costs_little():
    before = fingerprint()
    fingerprint.cache_clear()
    began = time.process_time()
    assert fingerprint() == before
    assert time.process_time() - began < 1.0  # 0.1 s on an idle machine
    assert primitives() >= 100


def test_portable_numerics_are_recorded_and_change_the_fingerprint(portable):
    found, here = portable[0], numerics("cpu")
    assert (found["mode"], found["cpu"]) == ("portable", "DEFAULT")
    assert here["mode"] == "native"
    changed = differing_groups(found["fingerprint"], here["fingerprint"])
    assert {"matrices", "qr", "functions"} <= set(changed)
    assert numerics_differences(found, here) == [
        "portable numerics, here they are native: `--numerics portable` makes them the same"
    ]


def test_one_instruction_set_for_glibc_alone_changes_the_fingerprint_of_math():
    """Neither versions nor CPU capability show this difference, and physics engines use these functions."""
    code = "from evo_core.numerics.provenance import numerics; import json; print(json.dumps(numerics('cpu')))"
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    elsewhere, here = json.loads(done.stdout), numerics("cpu")
    if elsewhere["fingerprint"] == here["fingerprint"] and not here["libc"].startswith("glibc"):
        pytest.skip("another C library, without such variants")
    (difference,) = numerics_differences(elsewhere, here)
    assert "math" in difference and "matrices" not in difference


def test_differences_ignore_entries_that_were_not_recorded():
    here = numerics("cpu")
    old = {name: here[name] for name in ("torch", "numpy", "gymnasium", "cpu", "device")}
    assert numerics_differences(old, here) == []
    assert numerics_differences(here, here) == []
    assert numerics_differences({**here, "python": "3.0.0"}, here) == [f"python 3.0.0, here is {here['python']}"]
    assert numerics_differences({**here, "device": "cuda: T4", "cuda": "12"}, here) == [
        "device cuda: T4, here is cpu",
        "cuda 12, here is None",
    ]
    other = here["fingerprint"].replace("qr ", "qr 0")
    assert numerics_differences({**here, "fingerprint": other}, here) == [
        "other results of the same functions (qr), as processors of other makers give"
    ]


@pytest.mark.parametrize(
    ("env", "packages"),
    [
        ({"id": "CartPole-v1"}, []),
        ({"id": "LunarLander-v3"}, ["box2d"]),
        ({"id": "HalfCheetah-v5"}, ["mujoco"]),
        ({"id": "CartPole-v1", "vectorization": "envpool"}, ["envpool"]),
        ({"id": "minigrid:MiniGrid-Empty-5x5-v0", "wrappers": ["no_such_module:Wrapper"]}, ["minigrid"]),
    ],
)
def test_the_packages_of_an_environment_are_recorded_with_their_versions(env, packages):
    for package in packages:
        if find_spec(package) is None and package != "box2d":  # a distribution of another name, always installed
            missing(f"needs {package}: make extras")
    recorded = numerics("cpu", EnvConfig(**env)).get("environment", "")
    assert [part.split()[0] for part in recorded.split(", ") if part] == packages
    assert all(part.split()[1][0].isdigit() for part in recorded.split(", ") if part)


def test_a_portable_environment_keeps_what_the_user_has_set():
    assert _without_fma("") == "glibc.cpu.hwcaps=-FMA,-FMA4"
    kept = "glibc.malloc.check=3:glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"
    assert _without_fma("glibc.malloc.check=3:glibc.cpu.hwcaps=-AVX2") == kept
    assert _without_fma(kept) == kept
    made = portable_environment({"NPY_DISABLE_CPU_FEATURES": "AVX512_SPR"})
    assert made["NPY_DISABLE_CPU_FEATURES"].startswith("AVX512_SPR")
    assert not is_portable() and not is_portable({})
