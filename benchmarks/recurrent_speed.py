"""Recurrent PPO against sb3-contrib's RecurrentPPO: training steps per second, same task and sizes, in turn.

    make extras && python benchmarks/recurrent_speed.py [--repeats 3]

One process and one thread each: LunarLander-v3, 16 environments, 128 steps per environment and update, minibatches of
128 steps, 4 epochs, one LSTM of 64 units that policy and value share, one hidden layer of 32 in each head. Ours is
measured with backpropagation through time cut at 32 steps (the default) and at 128, the whole rollout; sb3-contrib cuts
where minibatches and episodes end. Ours has a linear map of 32 from the LSTM to the heads, sb3-contrib none. Collecting
and learning only: no evaluation, no evolution, no Prefect on either side.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

from evo_core.agent.agent import Agent, initial_state
from evo_core.config.parsing import parse_config
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import inspect_environment
from evo_core.genome.genome import initial_genome
from evo_core.ppo.learn import learn
from evo_core.ppo.rollout import collect_rollouts

ENV, ENVS, LENGTH, BATCH, EPOCHS, UNITS, HEAD = "LunarLander-v3", 16, 128, 128, 4, 64, 32
UPDATES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    torch.set_num_threads(1)
    print(f"{'repeat':>6} {'ours, 32':>9} {'ours, 128':>9} {'sb3-contrib':>12} {'ratios':>11} {'load':>5}")
    ratios = []
    for repeat in range(parser.parse_args().repeats):
        short, whole, other = ours(repeat, 32), ours(repeat, LENGTH), theirs(repeat)
        ratios.append((short / other, whole / other))
        rates = f"{short:>9,.0f} {whole:>9,.0f} {other:>12,.0f} {ratios[-1][0]:>5.1f} {ratios[-1][1]:>5.1f}"
        print(f"{repeat:>6} {rates} {os.getloadavg()[0]:>5.1f}", flush=True)
    medians = " and ".join(f"{statistics.median(column):.1f}" for column in zip(*ratios, strict=True))
    print(f"median ratios {medians} (training steps/s, {UPDATES * LENGTH * ENVS:,} steps each)")


def ours(seed: int, max_seq_len: int) -> float:
    config = parse_config(
        {
            "env": {"id": ENV, "num_envs": ENVS},
            "algorithm": {
                "recurrent": True,
                "learn_step": LENGTH * ENVS,
                "batch_size": BATCH,
                "update_epochs": EPOCHS,
            },
            "network": {
                "latent_dim": HEAD,
                "encoder": {"hidden_state_size": UNITS, "max_seq_len": max_seq_len},
                "head": {"hidden_size": [HEAD]},
            },
            "training": {"max_steps": 10**6},
        }
    )
    spaces, rng = inspect_environment(config).spaces, np.random.default_rng(seed)
    agent = Agent(initial_state(initial_genome(config, spaces.observation), spaces, 0.6, rng), spaces)
    envs = make_vect_envs(config.env, list(range(ENVS)))
    learn(agent, collect_rollouts(agent, envs, LENGTH, rng), config.algorithm, rng)  # warm
    began = time.perf_counter()
    for _ in range(UPDATES):
        learn(agent, collect_rollouts(agent, envs, LENGTH, rng), config.algorithm, rng)
    took = time.perf_counter() - began
    envs.close()
    return UPDATES * LENGTH * ENVS / took


def theirs(seed: int) -> float:
    envs = make_vec_env(ENV, ENVS)
    sizes = {
        "lstm_hidden_size": UNITS,
        "n_lstm_layers": 1,
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "net_arch": [HEAD],
    }
    model = RecurrentPPO(
        "MlpLstmPolicy", envs, n_steps=LENGTH, batch_size=BATCH, n_epochs=EPOCHS, policy_kwargs=sizes, seed=seed
    )
    model.learn(LENGTH * ENVS)  # warm
    began = time.perf_counter()
    model.learn(UPDATES * LENGTH * ENVS)
    took = time.perf_counter() - began
    envs.close()
    return UPDATES * LENGTH * ENVS / took


if __name__ == "__main__":
    main()
