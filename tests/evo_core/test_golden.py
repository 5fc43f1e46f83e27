"""One tiny run's COMMIT hashes, pinned: a change of them is a change of what every run computes.

They hold for one set of library versions and CPU instructions, so the run is made in a process that takes the most
portable instructions. Change them only with a stated reason, in CHANGELOG.md.
"""

import json
import os
import subprocess
import sys

import pytest

PORTABLE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
NUMERICS = {"torch": "2.13.0+cpu", "numpy": "2.4.6", "gymnasium": "1.4.0", "cpu": "DEFAULT", "device": "cpu"}
GOLDEN = [
    "f38fd3878df9f9edb47963b3c9309163ba41f2a1ad9ac1534a42a263b548f360",
    "14743b9636ebde3693e49459611b79be28e7979ea341ef3da4c2100baa447a80",
    "0040d63a439b81d26956f755cd51b5f4a01c6b8ab49a418c46ebadc155964a85",
    "8049dc00457993b29224acd3bd21f2d8ceba33d92c9b3f5b280455893164fb4b",
]

CODE = """
import json
from evo_core.local import train_on_policy
from evo_core.numerics import numerics
from evo_core.records import record_hash
from tests.conftest import make_config
commits = train_on_policy(make_config()).commits
print(json.dumps([numerics("cpu"), [record_hash(commit) for commit in commits]]))
"""


def test_the_chain_of_a_tiny_run_is_the_pinned_one():
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**os.environ, **PORTABLE}, capture_output=True, text=True, check=True
    )
    numerics, hashes = json.loads(done.stdout)
    if numerics != NUMERICS and not os.environ.get("CI"):
        pytest.skip(f"the hashes are pinned for {NUMERICS}, here are {numerics}")
    assert numerics == NUMERICS
    assert hashes == GOLDEN
