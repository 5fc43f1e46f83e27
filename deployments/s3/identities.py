"""Generate SeaweedFS's identities file from AWS policies.

python -m deployments.s3.identities FILE reads the keys from EVOLVE_ADMIN_ACCESS_KEY and EVOLVE_ADMIN_SECRET_KEY, and
the same of WORKER and GC, and writes a file that only its owner can read: `weed mini -s3.config=FILE`.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

POLICIES = {"worker": "worker-policy.json", "gc": "gc-policy.json"}


def identities(keys: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    """Return the identities file: admin has all rights, worker and gc those of their policies; `keys`: access and
    secret key by name."""
    policies = [
        {"name": name, "content": (Path(__file__).parent / file).read_text()} for name, file in POLICIES.items()
    ]
    rights: dict[str, dict[str, object]] = {
        "admin": {"actions": ["Admin", "Read", "Write", "List", "Tagging"]},
        **{name: {"policyNames": [name]} for name in POLICIES},
    }
    return {
        "identities": [
            {"name": name, "credentials": [{"accessKey": keys[name][0], "secretKey": keys[name][1]}], **right}
            for name, right in rights.items()
        ],
        "policies": policies,
    }


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Write the file; exit code 2 names the variables that are missing."""
    names = ("admin", *POLICIES)
    variables = {name: (f"EVOLVE_{name.upper()}_ACCESS_KEY", f"EVOLVE_{name.upper()}_SECRET_KEY") for name in names}
    missing = [variable for pair in variables.values() for variable in pair if not environment.get(variable)]
    if missing or len(arguments) != 1:
        wrong = f"set {', '.join(missing)}" if missing else f"expected one file to write, got {len(arguments)}"
        print(f"python -m deployments.s3.identities FILE: {wrong}", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.touch(mode=0o600)
    path.chmod(0o600)  # an existing file may be readable for others
    path.write_text(json.dumps(identities({n: (environment[a], environment[s]) for n, (a, s) in variables.items()})))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
