"""Training steps per second of whole runs, everything included.

    python benchmarks/throughput.py [--repeats 3]

A run of one generation and a run of three, by the command line: the added steps over the added wall clock is what a
generation really costs, with Prefect, Dask, store, study and evaluation, and without the one-off start. The ceiling
is raw stepping of the same environments with random actions, in one process per core, before every repeat. Reports
every repeat and the median; load average says how busy the machine was.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import gymnasium as gym

POPULATION, EVO_STEPS, GENERATIONS = 6, 40_960, (1, 3)
SETTINGS = {
    "env.id": "LunarLander-v3",
    "env.num_envs": 16,
    "algorithm.learn_step": 2048,
    "algorithm.batch_size": 128,
    "algorithm.update_epochs": 4,
    "network.encoder.hidden_size": "[32, 32]",
    "network.latent_dim": 32,
    "network.head.hidden_size": "[32]",
    "population.size": POPULATION,
    "training.evo_steps": EVO_STEPS,
    "evaluation.episodes": 1,
    "evaluation.confirm_episodes": 2,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(
        f"{'repeat':>6} {'1 generation':>13} {'3 generations':>14} {'steps/s':>9} {'ceiling':>8} {'share':>6} "
        f"{'outside members':>16} {'load':>5}"
    )
    rates, shares, overheads = [], [], []
    for repeat in range(repeats):
        raw = ceiling()
        with tempfile.TemporaryDirectory() as directory:
            short, long = (run(generations, directory) for generations in GENERATIONS)
            added = GENERATIONS[1] - GENERATIONS[0]
            rates.append(added * POPULATION * EVO_STEPS / (long["wall_s"] - short["wall_s"]))
            overheads.append(outside_members(Path(directory) / "runs" / long["run_id"]))
        shares.append(rates[-1] / raw)
        walls = f"{short['wall_s']:>10.1f} s {long['wall_s']:>12.1f} s"
        rate = f"{rates[-1]:>8,.0f} {raw:>8,.0f} {shares[-1]:>6.0%}"
        print(f"{repeat:>6} {walls} {rate} {overheads[-1]:>14.1f} s {os.getloadavg()[0]:>5.1f}", flush=True)
    print(
        f"median {statistics.median(rates):,.0f} training steps/s, {statistics.median(shares):.0%} of the ceiling;",
        end=" ",
    )
    print("a generation spends", end=" ")
    print(f"{statistics.median(overheads):.1f} s outside member tasks ({os.cpu_count()} cores)")


def ceiling() -> float:
    """Return the steps per second of the bare environments, with random actions, in all processes together."""
    processes = os.cpu_count() or 1
    with ProcessPoolExecutor(processes) as pool:
        return sum(pool.map(step_raw, range(processes)))


def step_raw(seed: int, steps: int = 100_000) -> float:
    """Step the environments in turn, as many steps as there are; return the steps per second."""
    envs = [gym.make(SETTINGS["env.id"], disable_env_checker=True) for _ in range(SETTINGS["env.num_envs"])]
    for number, env in enumerate(envs):
        env.reset(seed=seed + number)
        env.action_space.seed(seed + number)
    began = time.perf_counter()
    for _ in range(steps // len(envs)):
        for env in envs:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
    return steps / (time.perf_counter() - began)


def run(generations: int, directory: str) -> dict[str, object]:
    budget = generations * POPULATION * EVO_STEPS
    flags = {**SETTINGS, "training.max_steps": budget}
    command = [str(Path(sys.executable).parent / "evolve"), "run", "--json"]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout)


def outside_members(run: Path) -> float:
    """Seconds per generation in which no member task was running: from the last end to the next first start."""
    spans = []
    for path in sorted((run / "gen").glob("*/timings.json")):
        phases = json.loads(path.read_text())["record"]
        timings = [timing for phase in ("train", "evaluate") for timing in phases[phase].values()]
        spans.append((min(parse(t["start"]) for t in timings), max(parse(t["end"]) for t in timings)))
    gaps = [after[0] - before[1] for before, after in pairwise(spans)]
    return sum(gaps) / len(gaps)


def parse(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    main()
