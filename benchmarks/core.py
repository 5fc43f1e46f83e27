"""Steps per second of one member in process: stepping, learning, evaluating. No Prefect, no store, no study.

    python benchmarks/core.py [--rounds 20] [--against PATH] [--only vector image …]

One torch thread, CPU time. A round is one rollout and its updates, or 16 episodes: some tenths of a second, in turn
with those of the other checkout of --against, so that both meet the same load; medians over the rounds are shown with
their quartiles. `raw` steps 16 environments of LunarLander-v3 with random actions and does nothing else: the ceiling.
`vector` trains a member on them (learn_step 2048, batch 128, 4 epochs, encoder [32, 32], latent 32, heads [32]),
`evaluate` plays its episodes. `recurrent_32` and `recurrent_128` are the workloads of recurrent.py, `image` is the
ready configuration minigrid_image.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import yaml

HERE = Path(__file__).resolve().parents[1]
LANDER = {"id": "LunarLander-v3", "num_envs": 16}
SMALL = {"latent_dim": 32, "encoder": {"hidden_size": [32, 32]}, "head": {"hidden_size": [32]}}
LEARNING = {"learn_step": 2048, "batch_size": 128, "update_epochs": 4}

Work = Callable[[], int]
"""Does one round, and returns its environment steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--work", choices=list(WORKLOADS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(WORKLOADS[arguments.work])
        return
    places = [HERE, *([arguments.against.resolve()] if arguments.against else [])]
    print("| workload | steps/s (quartiles) |" + (" other checkout | ratio (quartiles) |" if arguments.against else ""))
    print("|---|---|" + ("---|---|" if arguments.against else ""))
    for name in arguments.only:
        beside = [("raw", HERE)] if name in ("vector", "evaluate") else []
        rates = np.array(measured([(name, place) for place in places] + beside, arguments.rounds))
        cells = [shown(column, "{:,.0f}") for column in rates.T[: len(places)]]
        if beside:
            shares = rates[:, : len(places)] / rates[:, -1:]
            cells = [f"{cell}, {share:.0%} of raw" for cell, share in zip(cells, np.median(shares, 0), strict=True)]
        if arguments.against:
            cells.append(shown(rates[:, 0] / rates[:, 1], "{:.2f}"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"{arguments.rounds} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def shown(values: np.ndarray, form: str) -> str:
    low, middle, high = (form.format(each) for each in np.quantile(values, (0.25, 0.5, 0.75)))
    return f"**{middle}** ({low} to {high})"


def measured(jobs: list[tuple[str, Path]], rounds: int) -> list[list[float]]:
    """Return the steps per second of each round of each workload in its place."""
    workers = []
    for name, place in jobs:
        environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), "--work", name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        workers.append(subprocess.Popen(command, cwd=place, env=environment, text=True, **pipes))
    try:
        return [[asked(worker) for worker in workers] for _ in range(rounds + 2)][2:]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def asked(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    print(file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


def work(prepare: Callable[[], Work]) -> None:
    """Do a round for every line of standard input; write its steps per CPU second."""
    torch.set_num_threads(1)
    once = prepare()
    for _ in sys.stdin:
        began = time.process_time()
        steps = once()
        print(steps / (time.process_time() - began), flush=True)


def raw() -> Work:
    """Step the environments with random actions."""
    envs = [gym.make(LANDER["id"], disable_env_checker=True) for _ in range(16)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    rng = np.random.default_rng(0)

    def once() -> int:
        for row in rng.integers(0, 4, (128, len(envs))):
            for env, action in zip(envs, row, strict=True):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
        return 128 * len(envs)

    return once


def training(described: dict[str, object]) -> Work:
    """Collect one rollout and learn from it."""
    from evo_core.agent.agent import Agent, initial_state
    from evo_core.config.parsing import parse_config
    from evo_core.envs.backends import make_vect_envs
    from evo_core.envs.inspection import check_environment
    from evo_core.genome.genome import initial_genome
    from evo_core.ppo.learn import learn
    from evo_core.ppo.rollout import collect_rollouts

    config = parse_config({**described, "training": {"max_steps": 10**9}})
    spaces, rng = check_environment(config, ("minigrid",)).spaces, np.random.default_rng(0)
    agent = Agent(initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng), spaces)
    envs = make_vect_envs(config.env, list(range(config.env.num_envs)))
    length = int(config.algorithm.learn_step) // config.env.num_envs

    def once() -> int:
        learn(agent, collect_rollouts(agent, envs, length, rng), config.algorithm, rng)
        return length * config.env.num_envs

    return once


def evaluate() -> Work:
    """Play 16 episodes of a founder."""
    from evo_core.agent.agent import Agent, initial_state
    from evo_core.config.parsing import parse_config
    from evo_core.envs.inspection import inspect_environment
    from evo_core.evaluation.episodes import play_episodes
    from evo_core.genome.genome import initial_genome

    evaluation = {"episodes": 16, "deterministic": False}
    config = parse_config({"env": LANDER, "network": SMALL, "training": {"max_steps": 10**9}, "evaluation": evaluation})
    spaces, rng = inspect_environment(config).spaces, np.random.default_rng(0)
    agent = Agent(initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng), spaces)
    return lambda: play_episodes(agent, config, rng.integers(2**31, size=16).tolist()).steps


def recurrent(max_seq_len: int) -> Work:
    encoder = {"hidden_state_size": 64, "max_seq_len": max_seq_len}
    network = {"latent_dim": 32, "encoder": encoder, "head": {"hidden_size": [32]}}
    return training({"env": LANDER, "algorithm": {**LEARNING, "recurrent": True}, "network": network})


def image() -> Work:
    ready = resources.files("deployments").joinpath("configs", "minigrid_image.yaml").read_text()
    described = yaml.safe_load(ready)
    return training({name: described[name] for name in ("env", "algorithm", "network")})


WORKLOADS: dict[str, Callable[[], Work]] = {
    "raw": raw,
    "vector": lambda: training({"env": LANDER, "algorithm": LEARNING, "network": SMALL}),
    "evaluate": evaluate,
    "recurrent_32": lambda: recurrent(32),
    "recurrent_128": lambda: recurrent(128),
    "image": image,
}

if __name__ == "__main__":
    main()
