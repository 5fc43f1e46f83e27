"""Agents of every kind for tests: briefly trained, with added noise so that outputs differ clearly."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import load_agent
from evo_core.config.run_config import RunConfig
from evo_core.envs.inspection import inspect_environment
from evo_core.evolution.population import create_population
from evo_core.training import train
from tests.conftest import make_config

IMAGE = {
    "network.encoder.channel_size": [8],
    "network.encoder.kernel_size": [3],
    "network.encoder.stride_size": [2],
    "network.bounds.channels": [8, 64],
}
RECURRENT = {"algorithm.recurrent": True, "network.encoder.hidden_state_size": 16, "network.bounds.units": [8, 64]}
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "normalized simba": ("CartPole-v1", {"algorithm.normalize_observations": True, "network.encoder.kind": "simba"}),
    "lstm with masks": ("Probe/MaskedMemory-v0", {**RECURRENT, "network.share_encoder": False}),
    "gru over images": ("Probe/BrightPixel-v0", {**RECURRENT, **IMAGE, "network.encoder.cell": "gru"}),
    "squashed": ("Probe/Squashed-v0", {"network.squash_output": True}),
}
MORE: dict[str, tuple[str, dict[str, object]]] = {
    "dictionary": ("Probe/Liar-v0", {}),
    "clipped doubles": ("Probe/OddActions-v0", {}),
    "masked choices": ("Probe/MaskedChoices-v0", {}),
    "images": ("Probe/BrightPixel-v0", IMAGE),
    "two lstm layers": ("CartPole-v1", {**RECURRENT, "network.encoder.num_layers": 2}),
    "far from zero": ("Probe/FarAway-v0", {"algorithm.normalize_observations": True}),
    "tuple": ("Probe/Pair-v0", {}),
    "switches": ("Probe/Switches-v0", {}),
    "choices from a start": ("Probe/MultiDiscreteSigns-v0", {}),
    "indices from a start": ("Probe/Shifted-v0", {}),
}


@cache
def make_agent(kind: str) -> tuple[RunConfig, Agent]:
    """Make an agent by its name in KINDS or MORE."""
    env, overrides = {**KINDS, **MORE}[kind]
    config = make_config(env, **overrides)
    spaces = inspect_environment(config).spaces
    founder = create_population(config, spaces.observation).offspring[0]
    content, _ = train(config, founder, None, spaces)
    state = load_agent(content, spaces).state()
    rng = np.random.default_rng(1)
    weights = {
        name: weight + 0.2 * torch.from_numpy(rng.standard_normal(weight.shape, np.float32))
        for name, weight in state.weights.items()
    }
    return config, Agent(replace(state, weights=weights), spaces)
