"""Steps per second of one member in process: stepping, learning, evaluating. No Prefect, no store, no study.

    python benchmarks/core.py [--repeats 5] [--against PATH] [--only vector image …]

One process and one torch thread each, in turn, by CPU time. `raw` steps 16 environments of LunarLander-v3 with random
actions and does nothing else: the ceiling. `vector` trains a member on them (learn_step 2048, batch 128, 4 epochs,
encoder [32, 32], latent 32, heads [32]), `evaluate` plays its episodes; both are shown as shares of the ceiling.
`recurrent_32` and `recurrent_128` are the workloads of recurrent.py, `image` is the ready configuration minigrid_image
with episodes and environments as they are there. With --against, another checkout is measured in between and the
ratios to it are shown.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
LANDER = {"id": "LunarLander-v3", "num_envs": 16}
FOREVER = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--measure", choices=list(WORKLOADS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(WORKLOADS[arguments.measure]())
        return
    places = [HERE, *([arguments.against.resolve()] if arguments.against else [])]
    found: dict[tuple[str, Path], list[float]] = {(name, place): [] for name in arguments.only for place in places}
    for repeat in range(arguments.repeats):
        for (name, place), rates in found.items():
            rates.append(measured(name, place))
        print(f"repeat {repeat}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print("| workload | steps/s | repeats |" + (" other checkout | repeats | ratio |" if arguments.against else ""))
    print("|---|---|---|" + ("---|---|---|" if arguments.against else ""))
    for name in arguments.only:
        columns = [found[name, place] for place in places]
        cells = [f"{statistics.median(c):,.0f} | {', '.join(f'{rate:,.0f}' for rate in c)}" for c in columns]
        if arguments.against:
            cells.append(f"{statistics.median(new / old for new, old in zip(*columns, strict=True)):.2f}")
        print(f"| {name} | {' | '.join(cells)} |")
    for name in ("vector", "evaluate"):
        if {name, "raw"} <= set(arguments.only):
            for place in places:
                pairs = zip(found[name, place], found["raw", place], strict=True)
                shares = ", ".join(f"{rate / raw:.0%}" for rate, raw in pairs)
                print(f"{name}: {shares} of raw ({'here' if place == HERE else 'other checkout'})")


def measured(name: str, place: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", name]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1])


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Give a function that tells the CPU seconds of this process since the beginning."""
    began = time.process_time()
    yield lambda: time.process_time() - began


def raw(steps: int = 40_960) -> float:
    """Step the environments with random actions."""
    import gymnasium as gym
    import numpy as np

    envs = [gym.make(LANDER["id"], disable_env_checker=True) for _ in range(LANDER["num_envs"])]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    actions = np.random.default_rng(0).integers(0, 4, (steps // len(envs), len(envs)))
    with timed() as seconds:
        for row in actions:
            for env, action in zip(envs, row, strict=True):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
        return steps / seconds()


def vector() -> float:
    return trained(lander(), 2 * 40_960)


def evaluate() -> float:
    """Play the episodes of a founder, in a batch of 16."""
    import numpy as np
    import torch

    from evo_core.agent.agent import Agent, initial_state
    from evo_core.config.parsing import parse_config
    from evo_core.envs.inspection import inspect_environment
    from evo_core.evaluation.episodes import play_episodes
    from evo_core.genome.genome import initial_genome

    torch.set_num_threads(1)
    evaluation = {"episodes": 16, "deterministic": False}
    config = parse_config({**lander(), "training": {"max_steps": FOREVER}, "evaluation": evaluation})
    spaces = inspect_environment(config).spaces
    genome = initial_genome(config, spaces.observation)
    agent = Agent(initial_state(genome, spaces, 0.6, np.random.default_rng(0)), spaces)
    play_episodes(agent, config, [1])
    with timed() as seconds:
        steps = sum(play_episodes(agent, config, list(range(16 * i, 16 * i + 16))).steps for i in range(16))
        return steps / seconds()


def recurrent(max_seq_len: int) -> float:
    network = {
        "latent_dim": 32,
        "encoder": {"hidden_state_size": 64, "max_seq_len": max_seq_len},
        "head": {"hidden_size": [32]},
    }
    algorithm = {"recurrent": True, "learn_step": 2048, "batch_size": 128, "update_epochs": 4}
    return trained({"env": LANDER, "algorithm": algorithm, "network": network}, 24_576)


def image() -> float:
    from importlib import resources

    import yaml

    ready = resources.files("deployments").joinpath("configs", "minigrid_image.yaml").read_text()
    return trained(yaml.safe_load(ready), 25_600)


def lander() -> dict[str, object]:
    return {
        "env": LANDER,
        "algorithm": {"learn_step": 2048, "batch_size": 128, "update_epochs": 4},
        "network": {"latent_dim": 32, "encoder": {"hidden_size": [32, 32]}, "head": {"hidden_size": [32]}},
    }


def trained(described: dict[str, object], steps: int) -> float:
    """Train a founder for one generation, environments made and a checkpoint written; once before to warm up."""
    from evo_core.config.parsing import parse_config
    from evo_core.envs.inspection import check_environment
    from evo_core.evolution.population import create_population
    from evo_core.training import train

    def run(evo_steps: int) -> None:
        config = parse_config({**described, "training": {"max_steps": FOREVER, "evo_steps": evo_steps}})
        spaces = check_environment(config, ("minigrid",)).spaces
        blob, training = train(config, create_population(config, spaces.observation).offspring[0], None, spaces)
        assert blob is not None, training.failure

    run(2_048)
    with timed() as seconds:
        run(steps)
        return steps / seconds()


WORKLOADS: dict[str, Callable[[], float]] = {
    "raw": raw,
    "vector": vector,
    "evaluate": evaluate,
    "recurrent_32": lambda: recurrent(32),
    "recurrent_128": lambda: recurrent(128),
    "image": image,
}

if __name__ == "__main__":
    main()
