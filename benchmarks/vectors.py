"""Environment steps per second of every vector backend, behind our interface and, for native, without it.

    make extras && python benchmarks/vectors.py [--repeats 3]

CartPole-v1, 16 copies, random actions, no policy; the backends take turns in every repeat.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

import gymnasium as gym
import numpy as np

from evo_core.config.sections import EnvConfig
from evo_core.envs.backends import VECTORS, make_vect_envs

ENV, COPIES = "CartPole-v1", 16
STEPS = {"sync": 2_000, "async": 500, "native": 20_000, "envpool": 10_000, "native, raw": 20_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    rates: dict[str, list[float]] = {name: [] for name in STEPS}
    for repeat in range(parser.parse_args().repeats):
        for name, found in rates.items():
            found.append(raw(STEPS[name], repeat) if name == "native, raw" else ours(name, STEPS[name], repeat))
    for name, found in rates.items():
        shown = ", ".join(f"{rate:,.0f}" for rate in found)
        print(f"{name:<12} median {statistics.median(found):>9,.0f} steps/s  ({shown})")
    print(f"load {os.getloadavg()[0]:.1f}")


def ours(name: str, steps: int, seed: int) -> float:
    assert name in VECTORS
    envs = make_vect_envs(EnvConfig(id=ENV, num_envs=COPIES, vectorization=name), list(range(COPIES)))
    try:
        return timed(envs.step, steps, seed)
    finally:
        envs.close()


def raw(steps: int, seed: int) -> float:
    envs = gym.make_vec(ENV, num_envs=COPIES, vectorization_mode="vector_entry_point")
    envs.reset(seed=seed)
    return timed(envs.step, steps, seed)


def timed(step: Callable[[np.ndarray], object], steps: int, seed: int) -> float:
    drawn: Iterator[np.ndarray] = iter(np.random.default_rng(seed).integers(0, 2, (steps + 50, COPIES)))
    for _ in range(50):
        step(next(drawn))
    began = time.perf_counter()
    for actions in drawn:
        step(actions)
    return steps * COPIES / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
