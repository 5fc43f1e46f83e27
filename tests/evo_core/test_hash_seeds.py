"""Checkpoints, chains and fingerprints are the same in every process, whatever its PYTHONHASHSEED."""

import json
import os
import subprocess
import sys

from evo_core.agent.checkpoint import to_bytes
from evo_core.numerics.fingerprint import fingerprint
from evo_core.records.canonical import sha256
from tests.conftest import make_config
from tests.evo_core.test_mutation import founder
from tests.spreading import undisturbed

CODE = """
import json
from evo_core.agent.checkpoint import to_bytes
from evo_core.local import train_on_policy
from evo_core.numerics.fingerprint import fingerprint
from evo_core.records.canonical import sha256
from tests.conftest import make_config
from tests.evo_core.test_mutation import founder
print(json.dumps([sha256(to_bytes(founder()[2])), train_on_policy(make_config()).head, fingerprint()]))
"""


def test_checkpoints_chains_and_fingerprints_do_not_depend_on_the_hash_seed():
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "1",
    }  # this process has another one: random, or chosen by whoever runs it
    there = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    here = [sha256(to_bytes(founder()[2])), undisturbed(make_config()).head, fingerprint()]
    assert json.loads(there.stdout) == here
