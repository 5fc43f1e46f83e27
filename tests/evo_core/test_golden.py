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
    "a015a9062806bc1a6e7e7a042db2ddff922e8d0dbeceb4dfc245d4d5a3bb0fde",
    "c6cb195a9694572a4a4ff7cb7f082e34e461621da0fb79dddeb26ae21521c813",
    "1d77a15c6ed28d179ce027b93dfb292842d73016b918ae1c7cc9c783021dbae6",
    "91072ecfaf6048830fe8b7230e871d9501a7665343014a6dbea02930696f074d",
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
