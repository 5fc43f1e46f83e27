"""One tiny run with pinned results: if they change, the results of every run change.

The numbers hold on every CPU. The COMMIT hashes hold for one set of library versions, in a process with portable
numerics, whatever the processor's maker. Change either only with a stated reason, in CHANGELOG.md.
"""

import json
import os
import subprocess
import sys

import pytest

from evo_core.local import train_on_policy
from evo_core.numerics.instructions import portable_environment
from tests.conftest import make_config

VERSIONS = {
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "gymnasium": "1.4.0",
    "cpu": "DEFAULT",
    "mode": "portable",
    "device": "cpu",
}
GOLDEN = [
    "f38fd3878df9f9edb47963b3c9309163ba41f2a1ad9ac1534a42a263b548f360",
    "15bc989c59bfc0f15359c8e079cd178538a0280924a841b6cf8c2e44dad231c4",
    "2710a09c198f6abd11121acc175e7d9d0825f605523f7ccf3ddcae9250ba5ee7",
    "7e5096fb3c5f340596ff1b78a5f2cd4f852cd340547006993b6122b310d9efdb",
]

CODE = """
import json
from evo_core.local import train_on_policy
from evo_core.numerics.provenance import numerics
from evo_core.records.chain import record_hash
from tests.conftest import make_config
commits = train_on_policy(make_config()).commits
print(json.dumps([numerics("cpu"), [record_hash(commit) for commit in commits]]))
"""

# member, parent, mutation, batch_size, lr; the last update's return, value loss and gradient norm; fitness
NUMBERS = [
    ("g0001/m00", None, "none", 64, 0.001, 15.142857, 36.8955, 4.7075, 60.5),
    ("g0001/m01", None, "parameters", 64, 0.001, 21.857143, 32.7873, 4.68995, 9.0),
    ("g0001/m02", None, "activation", 64, 0.001, 23.0, 26.0856, 3.85151, 37.5),
    ("g0002/m00", "g0001/m00", "none", 64, 0.001, 25.333333, 48.7928, 4.69285, 9.0),
    ("g0002/m01", "g0001/m00", "rl_hp", 69, 0.001, 29.0, 52.9855, 5.0942, 43.0),
    ("g0002/m02", "g0001/m00", "none", 64, 0.001, 26.6, 36.1476, 4.14523, 9.0),
    ("g0003/m00", "g0002/m01", "none", 69, 0.001, 19.5, 61.2804, 5.50341, 41.5),
    ("g0003/m01", "g0002/m02", "rl_hp", 64, 0.0010514269, 30.333333, 42.3, 6.0216, 9.5),
    ("g0003/m02", "g0002/m01", "parameters", 69, 0.001, 30.25, 53.0017, 5.57239, 21.5),
]
ELITES = ["g0001/m00", "g0002/m01", "g0003/m00"]


def test_the_numbers_of_a_tiny_run_are_the_pinned_ones():
    commits = train_on_policy(make_config()).commits[1:]
    members = [member for commit in commits for member in commit.members]
    for member, pinned in zip(members, NUMBERS, strict=True):
        offspring, last = member.offspring, member.training.curve[-1]
        genes = offspring.genome.hyperparameters
        assert (offspring.uid, offspring.parent, offspring.mutation.kind, genes["batch_size"]) == pinned[:4]
        numbers = (genes["lr"], last.episode_return, last.value_loss, last.grad_norm, member.evaluation.fitness)
        assert numbers == pytest.approx(pinned[4:], rel=1e-4)
    assert [commit.elite.uid for commit in commits] == ELITES


def test_the_chain_of_a_tiny_run_is_the_pinned_one_under_portable_numerics():
    environment = {**os.environ, **portable_environment(os.environ), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    numerics, hashes = json.loads(done.stdout)
    versions = {name: numerics[name] for name in VERSIONS}
    if versions != VERSIONS and not os.environ.get("CI"):
        pytest.skip(f"the hashes are pinned for {VERSIONS}, here are {versions}")
    assert versions == VERSIONS
    assert hashes == GOLDEN
