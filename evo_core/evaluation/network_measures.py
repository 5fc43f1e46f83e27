"""Measures of an agent's policy that no episode changes: its size, and what an action costs."""

from collections.abc import Callable

import numpy as np
import torch

from evo_core.agent.agent import Agent


def count_parameters(agent: Agent) -> int:
    """Return the number of parameters that choosing an action needs: without the critic's.

    A recurrent critic with an encoder of its own remembers with every action, and counts.
    """
    network = agent.network
    parts = [network.encoder, network.actor, network.distribution]
    if network.critic_encoder is not None and network.memory_size:
        parts.append(network.critic_encoder)
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def count_flops(agent: Agent) -> int:
    """Return the floating-point operations that an action for one observation takes: matrix products and convolutions.

    A multiplication and an addition are two, as PyTorch counts them. Activations and normalization are left out.
    """
    from torch.utils.flop_counter import FlopCounterMode

    rows = agent.network.layout.draw(1, np.random.default_rng(0))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        agent.network.policy(agent.observe(rows), agent.no_memory(1))
    return int(counter.get_total_flops())


NETWORK_MEASURES: dict[str, Callable[[Agent], int]] = {"parameters": count_parameters, "flops": count_flops}
"""Measures by the names that `evaluation.objectives` knows."""
