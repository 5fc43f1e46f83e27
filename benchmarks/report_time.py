"""How long `evolve report` takes for a large run.

    python -m benchmarks.report_time [--members 10000] [--pictures]

The run is a synthetic one (tests/lineages.py: real selection and mutation, fitness by a rule) in a local store, with
the clocks of every member. The time is that of the whole command, imports included; pictures need a browser and are
off unless asked for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config, store_lineage

POPULATION = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--pictures", action="store_true")
    arguments = parser.parse_args()
    config = make_lineage_config(POPULATION, arguments.members // POPULATION)
    with tempfile.TemporaryDirectory() as directory:
        store_lineage(Path(directory, "runs").as_uri(), "large", config, make_commits(config, learns_by_lr_and_gamma))
        environment = dict(os.environ)
        if not arguments.pictures:
            environment |= {"PATH": directory, "BROWSER_PATH": f"{directory}/none"}
        began = time.perf_counter()
        command = [Path(sys.executable).parent / "evolve", "report", "large"]
        subprocess.run(command, cwd=directory, env=environment, check=True)
        seconds = time.perf_counter() - began
        size = Path(directory, "reports", "large", "report.html").stat().st_size / 1e6
    print(f"{arguments.members:,} members: {seconds:.1f} s, a page of {size:.1f} MB")


if __name__ == "__main__":
    main()
