"""Training steps per second of other implementations of PPO on one workload, beside ours.

    python -m benchmarks.peers [--repeats 3] [--only ours sb3 …] [--cache ~/.cache/evolve-peers]

LunarLander-v3, 16 environments, learn_step 2048, minibatches of 128, 4 epochs, an encoder of three layers of 32 units
that policy and value share, one layer of 32 in each head: the programs in benchmarks/peer_programs. Each peer gets an
environment of its own in the cache, made with pip when it is not there. Every process keeps to one core and one
thread, and the programs take turns; steps are counted per second of processor time, so that other work on the machine
distorts less. Collecting and learning only; a population also evaluates, selects and mutates.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from venv import EnvBuilder

ROOT = Path(__file__).resolve().parents[1]
LANDER = ("torch==2.13.0", "gymnasium[box2d]==1.4.0")
PACKAGES: dict[str, Sequence[str]] = {
    "sb3": ("stable-baselines3==2.9.2", "sb3-contrib==2.9.2", *LANDER),
    "sbx": ("sbx-rl==0.28.0", *LANDER),
    "agilerl": ("agilerl==2.58.0", "peft", *LANDER),
    "rejax": ("rejax==0.1.3", "gymnax<1"),
}
"""What pip installs into the environment of a peer; "ours" is this one."""

PROGRAMS = (
    ("ours", "one agent", "ours", "this_project.py agent"),
    ("a loop like CleanRL's", "one agent", "sb3", "cleanrl_like.py agent"),
    ("Stable-Baselines3", "one agent", "sb3", "sb3.py agent"),
    ("sbx-rl", "one agent", "sbx", "sbx_jax.py agent"),
    ("AgileRL", "one agent", "agilerl", "agile.py agent"),
    ("ours", "population of 6, one process", "ours", "this_project.py population"),
    ("AgileRL", "population of 6, one process", "agilerl", "agile.py population"),
    ("ours", "recurrent agent", "ours", "this_project.py recurrent"),
    ("sb3-contrib", "recurrent agent", "sb3", "sb3.py recurrent"),
    ("ours", "CartPole-v1, one agent", "ours", "this_project.py cartpole"),
    ("rejax on gymnax", "CartPole-v1, 16 environments", "rejax", "rejax_cartpole.py few"),
    ("rejax on gymnax", "CartPole-v1, 1,024 environments", "rejax", "rejax_cartpole.py many"),
)
"""Name, workload, environment and program of every row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=["ours", *PACKAGES], default=["ours", *PACKAGES])
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/evolve-peers").expanduser())
    arguments = parser.parse_args()
    pythons = {name: python(name, arguments.cache) for name in arguments.only}
    rows = [row for row in PROGRAMS if row[2] in pythons]
    rates: dict[tuple[str, ...], list[float]] = {row: [] for row in rows}
    for repeat in range(arguments.repeats):
        for row in rows:
            rates[row].append(measure(pythons[row[2]], row[3]))
        print(f"repeat {repeat}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print("| workload | program | median steps/s | repeats |\n|---|---|---|---|")
    for (name, workload, _, _), found in rates.items():
        each = ", ".join(f"{rate:,.0f}" for rate in found)
        print(f"| {workload} | {name} | {statistics.median(found):,.0f} | {each} |")


def python(name: str, cache: Path) -> Path:
    """Return the interpreter of a peer, in an environment that is made at first use."""
    if name == "ours":
        return Path(sys.executable)
    place = cache / name
    done = place / "installed"
    wanted = "\n".join(PACKAGES[name])
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {name} in {place} …", file=sys.stderr)
        EnvBuilder(with_pip=True).create(place)
        subprocess.run([place / "bin/python", "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        done.write_text(wanted)
    return place / "bin/python"


def measure(interpreter: Path, program: str) -> float:
    """Run a program; return the steps per second that it prints last."""
    name, kind = program.split()
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "JAX_PLATFORMS": "cpu"}
    if interpreter == Path(sys.executable):
        environment["PYTHONPATH"] = str(ROOT)
    command = [interpreter, ROOT / "benchmarks/peer_programs" / name, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program}: {done.stderr[-3000:]}")
    return float(done.stdout.splitlines()[-1].removeprefix("steps/s "))


if __name__ == "__main__":
    main()
